-- wrk ... -s wrk.lua ADDRESS -- METHOD PATH FILE TOKEN
-- Uses the lines of FILE in random order: as bodies of POST requests, otherwise as suffixes of PATH.

local prepared = {}

function init(arguments)
   local method, path, file, token = unpack(arguments)
   local headers = { ["Authorization"] = "Bearer " .. token }
   if method == "POST" then
      headers["Content-Type"] = "application/json"
   end
   for line in io.lines(file) do
      if method == "POST" then
         prepared[#prepared + 1] = wrk.format(method, path, headers, line)
      else
         prepared[#prepared + 1] = wrk.format(method, path .. line, headers)
      end
   end
   math.randomseed(os.time())
end

function request()
   return prepared[math.random(#prepared)]
end

function done(summary, latency, _)
   local e = summary.errors
   local form = 'RESULT {"rate":%.1f,"p50":%.2f,"p95":%.2f,"p99":%.2f,"refused":%d,"broken":%d,"late":%d}\n'
   io.write(string.format(form,
      summary.requests / summary.duration * 1e6,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
      e.status, e.connect + e.read + e.write, e.timeout))
end

#!/bin/sh
# Update Swagger UI in src/kingpost/http/openapi/swagger_ui: tools/update_swagger_ui.sh [VERSION]
# It needs npm, downloads the newest release by default, and does not modify its files.
# Afterwards, run the tests of the page: pytest tests/system/test_docs_page.py
set -eu
cd "$(dirname "$0")/../src/kingpost/http/openapi/swagger_ui"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm pack --silent --pack-destination "$work" "swagger-ui-dist@${1:-latest}" >/dev/null
tar -xzf "$work"/*.tgz -C "$work"
version=$(sed -n 's/.*"version": "\(.*\)".*/\1/p' "$work/package/package.json")

cd "$work/package"
cp swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css LICENSE NOTICE "$OLDPWD"
cd "$OLDPWD"
cat > VERSION <<END
swagger-ui-dist $version, from the npm registry, unchanged.

Downloaded by tools/update_swagger_ui.sh. Of these files, only docs.html and docs.js are part of Kingpost.
END

"""The OpenAPI document, made from routes and types, and the page that shows it."""

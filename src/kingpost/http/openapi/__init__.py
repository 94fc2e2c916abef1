"""The OpenAPI document, generated from routes and types, and the page that shows it."""

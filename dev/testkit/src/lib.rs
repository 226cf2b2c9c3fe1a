//! What the tests share: servers, stores that fail, contract suites, tree builder.

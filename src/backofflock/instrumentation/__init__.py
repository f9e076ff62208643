"""Ready-made listeners for `backofflock.instrument`, each in a module of its own.

==================  ========================  ================================
module              listener                  extra to install
==================  ========================  ================================
``logging``         `LoggingListener`         none
``structlog``       `StructlogListener`       ``backofflock[structlog]``
``prometheus``      `PrometheusListener`      ``backofflock[prometheus]``
``opentelemetry``   `OpenTelemetryListener`   ``backofflock[opentelemetry]``
==================  ========================  ================================

None is loaded before it is imported; where its library is missing, the import raises
ModuleNotFoundError and names the extra.
"""

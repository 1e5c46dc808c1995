"""Pictures of the dashboards without a Grafana: drawn from their JSON and Prometheus' data."""

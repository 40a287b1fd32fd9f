{{/* Native histograms travel in Prometheus' binary format only. */}}
{{- define "vpcprobe.scraping" -}}
{{- if .nativeHistograms }}
scrapeProtocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]
scrapeNativeHistograms: true
scrapeClassicHistograms: true
{{- end }}
{{- end -}}

{{/*
The sidecar, for application charts that depend on this one with mode: none. In the application's pod:

  spec:
    initContainers:   # containers, with sidecar.native: false
      {{- include "vpcprobe.sidecar" .Subcharts.vpcprobe | nindent 6 }}
    volumes:
      {{- include "vpcprobe.volumes" .Subcharts.vpcprobe | nindent 6 }}

It has no readiness probe: the application's readiness must not follow what the agent sees, unless
sidecar.await asks for it, and then only once, before the application starts.
*/}}
{{- define "vpcprobe.sidecar" -}}
- {{- include "vpcprobe.container" . | nindent 2 }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  {{- if .Values.sidecar.await }}
  startupProbe:
    exec:
      command:
        - /vpcprobe
        - health
        {{- range .Values.sidecar.await }}
        - --require={{ . }}
        {{- end }}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: {{ .Values.sidecar.awaitSeconds }}
  {{- end }}
{{- end -}}

{{/* Annotations for the application's pod, where metrics are found by annotation. */}}
{{- define "vpcprobe.podAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.port | quote }}
prometheus.io/path: /metrics
{{- end -}}

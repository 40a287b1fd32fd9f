{{/*
The sidecar, for application charts that depend on this one with mode: none. In the application's pod:

  metadata:
    annotations:      # only where metrics are found by annotation
      {{- include "vpcprobe.podAnnotations" .Subcharts.vpcprobe | nindent 6 }}
  spec:
    initContainers:   # containers, with sidecar.native: false
      {{- include "vpcprobe.sidecar" .Subcharts.vpcprobe | nindent 6 }}
    volumes:
      {{- include "vpcprobe.volumes" .Subcharts.vpcprobe | nindent 6 }}

It has no readiness probe: the application's readiness must not follow what the agent sees. With sidecar.await it does
while the sidecar starts: before the application, and again if the sidecar's container is restarted beside a running
one, because Kubernetes counts a native sidecar that has not started among what makes a pod unready.
*/}}
{{- define "vpcprobe.sidecar" -}}
- {{- include "vpcprobe.container" . | nindent 2 }}
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  {{- if .Values.sidecar.await }}
  startupProbe:
    {{- include "vpcprobe.health" (dict "root" . "require" .Values.sidecar.await) | nindent 4 }}
    periodSeconds: 1
    failureThreshold: {{ .Values.sidecar.awaitSeconds }}
  {{- end }}
{{- end -}}

{{/* Annotations for the application's pod, where metrics are found by annotation. */}}
{{- define "vpcprobe.podAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.port | quote }}
prometheus.io/path: /metrics
{{- end -}}

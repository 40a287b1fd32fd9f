{{/* The container, alike in all modes and in the sidecar. */}}
{{- define "vpcprobe.container" -}}
name: vpcprobe
image: {{ include "vpcprobe.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - run
  - --config=/etc/vpcprobe/config/vpcprobe.yaml
  {{- if eq .Values.mode "statefulset" }}
  - --shard=$(POD_NAME)/{{ .Values.replicas }}
  {{- end }}
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  - name: VPCPROBE_LISTEN # every address, of either family
    value: ":{{ .Values.port }}"
  - name: VPCPROBE_HEALTH_LISTEN # for the probes below: in the clear, and never beyond the pod
    value: "127.0.0.1:{{ .Values.healthPort }}"
  {{- if eq .Values.mode "statefulset" }}
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: probe-metrics
    containerPort: {{ .Values.port }}
    protocol: TCP
livenessProbe:
  exec:
    command: [/vpcprobe, health, "--address=127.0.0.1:{{ .Values.healthPort }}"]
  periodSeconds: 20
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "vpcprobe.mounts" . | nindent 2 }}
{{- end -}}

{{/* The command that asks the agent for its health and, with targets, for theirs. Takes a dict of root and require. */}}
{{- define "vpcprobe.health" -}}
exec:
  command:
    - /vpcprobe
    - health
    - --address=127.0.0.1:{{ .root.Values.healthPort }}
    {{- range .require }}
    - --require={{ . }}
    {{- end }}
timeoutSeconds: 5
{{- end -}}

{{- define "vpcprobe.mounts" -}}
- name: vpcprobe-config
  mountPath: /etc/vpcprobe/config
  readOnly: true
{{- range .Values.clientCertificates }}
- name: vpcprobe-certificate-{{ .name }}
  mountPath: /etc/vpcprobe/certificates/{{ .name }}
  readOnly: true
{{- end }}
{{- range .Values.secrets }}
- name: vpcprobe-secret-{{ .name }}
  mountPath: /etc/vpcprobe/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The volumes that the container needs: include them in the application's pod beside the sidecar.

Secrets are readable by the agent through the pod's fsGroup. An application's pod may have none; there they are readable by
whoever mounts them, which is the agent's container alone.
*/}}
{{- define "vpcprobe.volumes" -}}
{{- $mode := ternary "0444" "0440" (eq .Values.mode "none") -}}
- name: vpcprobe-config
  {{- if .Values.existingSecret }}
  secret:
    secretName: {{ .Values.existingSecret }}
    defaultMode: {{ $mode }}
  {{- else }}
  configMap:
    name: {{ default (include "vpcprobe.fullname" .) .Values.existingConfigMap }}
  {{- end }}
{{- range .Values.clientCertificates }}
- name: vpcprobe-certificate-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: {{ $mode }}
{{- end }}
{{- range .Values.secrets }}
- name: vpcprobe-secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: {{ $mode }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

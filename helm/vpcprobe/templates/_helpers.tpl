{{- define "vpcprobe.name" -}}
{{- default "vpcprobe" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "vpcprobe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "vpcprobe.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "vpcprobe.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vpcprobe.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vpcprobe.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vpcprobe.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "vpcprobe.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vpcprobe.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vpcprobe.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vpcprobe.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

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
  - name: VPCPROBE_LISTEN
    value: "0.0.0.0:{{ .Values.port }}"
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
livenessProbe:
  exec:
    command: [/vpcprobe, health]
  periodSeconds: 20
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
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
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volumes that the container needs: include them in the application's pod beside the sidecar. */}}
{{- define "vpcprobe.volumes" -}}
- name: vpcprobe-config
  {{- if .Values.existingSecret }}
  secret:
    secretName: {{ .Values.existingSecret }}
  {{- else }}
  configMap:
    name: {{ default (include "vpcprobe.fullname" .) .Values.existingConfigMap }}
  {{- end }}
{{- range .Values.clientCertificates }}
- name: vpcprobe-certificate-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- range .Values.secrets }}
- name: vpcprobe-secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The pod template of every mode. Takes a dict of root and zone. */}}
{{- define "vpcprobe.pod" -}}
{{- $zone := .zone -}}
{{- with .root -}}
metadata:
  labels:
    {{- include "vpcprobe.selectorLabels" . | nindent 4 }}
    {{- with $zone }}
    vpcprobe/zone: {{ . }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "vpcprobe.serviceAccountName" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{- include "vpcprobe.container" . | nindent 6 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "vpcprobe.volumes" . | nindent 4 }}
  {{- if or .Values.nodeSelector $zone }}
  nodeSelector:
    {{- with $zone }}
    topology.kubernetes.io/zone: {{ . }}
    {{- end }}
    {{- with .Values.nodeSelector }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if has .Values.mode (list "deployment" "statefulset") }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "vpcprobe.selectorLabels" . | nindent 10 }}
  {{- end }}
{{- end -}}
{{- end -}}

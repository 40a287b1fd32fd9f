{{/* The pod template of every mode. Takes a dict of root and zone. */}}
{{- define "vpcprobe.pod" -}}
{{- $zone := .zone -}}
{{- with .root -}}
metadata:
  labels:
    {{- include "vpcprobe.labels" . | nindent 4 }}
    app.kubernetes.io/component: agent
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
  {{- include "vpcprobe.placement" . | nindent 2 }}
  containers:
    - {{- include "vpcprobe.container" . | nindent 6 }}
      readinessProbe:
        {{- include "vpcprobe.health" (dict "root" . "require" .Values.readiness.require) | nindent 8 }}
        periodSeconds: 10
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
{{- end -}}
{{- end -}}

{{/* What a pod of the agent's own needs to sit where the application sits; the test's pod has it, too. */}}
{{- define "vpcprobe.placement" -}}
serviceAccountName: {{ include "vpcprobe.serviceAccountName" . }}
automountServiceAccountToken: false # IRSA and Pod Identity bring a token of their own
enableServiceLinks: false # variables of services named vpcprobe-... are none of ours
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
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
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if has .Values.mode (list "deployment" "statefulset") }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "vpcprobe.podSelector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{/*
What the schema cannot see: values that are right by themselves and wrong together. Every refusal says what to set.
*/}}
{{- define "vpcprobe.refusals" -}}
{{- $v := .Values -}}
{{- if and $v.existingConfigMap $v.existingSecret -}}
{{- fail "existingConfigMap and existingSecret are both given: the configuration has one place" -}}
{{- end -}}
{{- if not (or $v.existingConfigMap $v.existingSecret $v.config.targets) -}}
{{- fail "config.targets is empty: name at least one API to probe, or bring the configuration with existingConfigMap or existingSecret" -}}
{{- end -}}
{{- if and (eq $v.mode "deploymentPerZone") (not $v.zones) -}}
{{- fail "mode deploymentPerZone needs zones, such as [eu-west-1a, eu-west-1b]" -}}
{{- end -}}
{{- if and (eq $v.mode "statefulset") (gt (int $v.replicas) 1) $v.readiness.require -}}
{{- fail "readiness.require needs a mode in which every agent has every target: with mode statefulset the targets are divided, and the replicas without the required ones would never be ready" -}}
{{- end -}}
{{- if and $v.sidecar.await (not $v.sidecar.native) -}}
{{- fail "sidecar.await needs sidecar.native: an ordinary container holds nothing back, and during an outage its startup probe would keep the pod unready and start the agent anew" -}}
{{- end -}}
{{- if and $v.networkPolicy.create (ne $v.mode "none") (not (or $v.networkPolicy.endpointCIDRs $v.networkPolicy.egress)) -}}
{{- fail "networkPolicy.endpointCIDRs is empty: the policy would drop every probe, and the agent would report it as the outage" -}}
{{- end -}}
{{- if and $v.hostNetwork $v.networkPolicy.create -}}
{{- fail "networkPolicy does not apply to pods with hostNetwork" -}}
{{- end -}}
{{- range $monitor := list $v.serviceMonitor $v.podMonitor -}}
{{- if and $monitor.create $monitor.nativeHistograms (not (or $v.existingConfigMap $v.existingSecret)) -}}
{{- if not (dig "metrics" "native_histograms" false $v.config) -}}
{{- fail "nativeHistograms needs config.metrics.native_histograms: true" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.serviceMonitor.create (not $v.service.create) -}}
{{- fail "serviceMonitor needs service.create; without a service, use podMonitor" -}}
{{- end -}}
{{- end -}}

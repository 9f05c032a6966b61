{{/* Names are fixed: a namespace holds one Kfops, and policies elsewhere name its service accounts. */}}

{{/* The services: key in the values, port of what they serve, whether it is gRPC alone. */}}
{{- define "kfops.services" -}}
gateway: {key: gateway, port: 8080, grpc: false}
scm-bot: {key: scmBot, port: 9001, grpc: true}
image-builder: {key: imageBuilder, port: 9002, grpc: true}
pipeline-runner: {key: pipelineRunner, port: 9003, grpc: true}
serving-deployer: {key: servingDeployer, port: 9004, grpc: true}
{{- end }}

{{- define "kfops.metricsPort" -}}9464{{- end }}

{{/* Labels of everything. */}}
{{- define "kfops.labels" -}}
app.kubernetes.io/part-of: kfops
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What selects the pods of a service: the argument is its name. */}}
{{- define "kfops.selector" -}}
app.kubernetes.io/part-of: kfops
app.kubernetes.io/name: kfops-{{ . }}
{{- end }}

{{- define "kfops.builds" -}}{{ .Values.namespaces.builds | default (printf "%s-builds" .Release.Namespace) }}{{- end }}
{{- define "kfops.compile" -}}{{ .Values.namespaces.compile | default (printf "%s-compile" .Release.Namespace) }}{{- end }}

{{/* The image of a service: (dict "root" $ "name" "gateway"). */}}
{{- define "kfops.image" -}}
{{- $images := .root.Values.images -}}
{{- $digest := get $images.digests .name -}}
{{- if $digest -}}
{{ $images.registry }}/{{ .name }}@{{ $digest }}
{{- else -}}
{{ $images.registry }}/{{ .name }}:{{ $images.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Addresses inside the cluster. */}}
{{- define "kfops.address" -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
http://kfops-{{ .name }}.{{ .root.Release.Namespace }}.svc:{{ $service.port }}
{{- end }}

{{/* As the mesh's certificates name a service account of ours. */}}
{{- define "kfops.principal" -}}
{{ .root.Values.istio.trustDomain }}/ns/{{ .root.Release.Namespace }}/sa/kfops-{{ .name }}
{{- end }}
{{- define "kfops.ingressPrincipal" -}}
{{ .Values.istio.trustDomain }}/ns/{{ .Values.istio.ingressNamespace }}/sa/{{ .Values.istio.ingressServiceAccount }}
{{- end }}

{{- define "kfops.webhookPrincipal" -}}
{{- $istio := .Values.istio -}}
{{- if $istio.webhooks.gateway -}}
{{ $istio.trustDomain }}/ns/{{ $istio.webhooks.ingressNamespace }}/sa/{{ $istio.webhooks.ingressServiceAccount }}
{{- else -}}
{{ include "kfops.ingressPrincipal" . }}
{{- end -}}
{{- end }}

{{/* Names of Secrets and of the ConfigMap with authorities: yours, or ours. Empty: there is none. */}}
{{- define "kfops.githubSecret" -}}{{ .Values.github.existingSecret | default "kfops-github" }}{{- end }}
{{- define "kfops.storeSecret" -}}
{{- if .Values.store.existingSecret }}{{ .Values.store.existingSecret }}{{ else if .Values.store.accessKeyId }}kfops-store{{ end -}}
{{- end }}
{{- define "kfops.registrySecret" -}}
{{- if .Values.registry.existingSecret }}{{ .Values.registry.existingSecret }}{{ else if .Values.registry.dockerconfigjson }}kfops-registry{{ end -}}
{{- end }}
{{- define "kfops.authorities" -}}
{{- if .Values.existingCaBundle }}{{ .Values.existingCaBundle }}{{ else if .Values.caBundle }}kfops-authorities{{ end -}}
{{- end }}

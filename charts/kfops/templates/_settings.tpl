{{/* The settings files, as kfops-<service> --print-settings-schema describes them. What users write under `settings` is merged over. */}}

{{/* What all have: (dict "root" $ "name" "gateway"). */}}
{{- define "kfops.settings.common" -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
listen: "0.0.0.0:{{ $service.port }}"
telemetry:
  metrics_listen: "0.0.0.0:{{ include "kfops.metricsPort" . }}"
  log_filter: {{ .root.Values.telemetry.logFilter | quote }}
  {{- with .root.Values.telemetry.otlpEndpoint }}
  otlp_endpoint: {{ . | quote }}
  {{- end }}
{{- end }}

{{/* A bucket, reached as `store` says: (dict "root" $ "url" "s3://..."). */}}
{{- define "kfops.settings.bucket" -}}
{{- $store := .root.Values.store -}}
url: {{ .url | quote }}
region: {{ $store.region | quote }}
{{- with $store.endpoint }}
endpoint: {{ . | quote }}
{{- end }}
{{- if $store.allowHttp }}
allow_http: true
{{- end }}
{{- if include "kfops.storeSecret" .root }}
credentials:
  access_key_id_file: /etc/kfops/store/access-key-id
  secret_access_key_file: /etc/kfops/store/secret-access-key
{{- end }}
{{- end }}

{{/* The keys of the Secret that hold the webhook's secrets. */}}
{{- define "kfops.webhookKeys" -}}
{{ empty .Values.github.existingSecret | ternary (list "webhook-secret") .Values.github.webhookSecretKeys | toYaml }}
{{- end }}

{{- define "kfops.settings.gateway" -}}
{{ include "kfops.settings.common" (dict "root" . "name" "gateway") }}
scm_bot: {{ include "kfops.address" (dict "root" . "name" "scm-bot") }}
webhook:
  secret_files:
    {{- range include "kfops.webhookKeys" . | fromYamlArray }}
    - /etc/kfops/webhook/{{ . }}
    {{- end }}
api:
  hosts: [{{ .Values.host | quote }}]
  cluster:
    {{- if and .Values.istio.enabled .Values.istio.users }}
    ingress_principal: {{ include "kfops.ingressPrincipal" . }}
    {{- end }}
    logins: {{ .Values.gateway.logins | toJson }}
{{- end }}

{{- define "kfops.settings.scm-bot" -}}
{{ include "kfops.settings.common" (dict "root" . "name" "scm-bot") }}
kubernetes: {}
store:
  {{- include "kfops.settings.bucket" (dict "root" . "url" .Values.store.url) | nindent 2 }}
github:
  api_url: {{ .Values.github.apiUrl | quote }}
  allow: {{ .Values.github.allow | toJson }}
  merge_method: {{ .Values.github.mergeMethod }}
  {{- with .Values.github.app.id }}
  app:
    id: {{ . | quote }}
    private_key_path: /etc/kfops/github/private-key.pem
  {{- end }}
workers:
  image_builder: {{ include "kfops.address" (dict "root" . "name" "image-builder") }}
  pipeline_runner: {{ include "kfops.address" (dict "root" . "name" "pipeline-runner") }}
  serving_deployer: {{ include "kfops.address" (dict "root" . "name" "serving-deployer") }}
{{- end }}

{{- define "kfops.settings.image-builder" -}}
{{ include "kfops.settings.common" (dict "root" . "name" "image-builder") }}
state: /var/lib/kfops
store:
  {{- include "kfops.settings.bucket" (dict "root" . "url" .Values.store.url) | nindent 2 }}
kubernetes:
  namespace: {{ include "kfops.builds" . }}
parallel: {{ .Values.builds.parallel }}
build_timeout: {{ .Values.builds.timeout | quote }}
registry:
  prefix: {{ .Values.registry.prefix | quote }}
  insecure: {{ .Values.registry.insecure }}
  {{- if include "kfops.registrySecret" . }}
  auth_file: /etc/kfops/registry/config.json
  {{- end }}
buildkit:
  image: {{ .Values.builds.image | quote }}
  fetcher:
    image: {{ include "kfops.image" (dict "root" . "name" "image-builder") | quote }}
    command: [/usr/bin/kfops-image-builder]
  service_account: kfops-build
  {{- with include "kfops.registrySecret" . }}
  registry_secret: {{ . }}
  {{- end }}
  {{- if .Values.builds.buildkitd }}
  config_map: kfops-buildkitd
  {{- end }}
  {{- with .Values.images.pullSecrets }}
  image_pull_secrets: {{ . | toJson }}
  {{- end }}
  sbom_scanner: {{ .Values.builds.sbomScanner | default (include "kfops.image" (dict "root" . "name" "image-builder")) | quote }}
  disk: {{ .Values.builds.disk | quote }}
  resources: {{ .Values.builds.resources | toJson }}
  node_selector: {{ .Values.builds.nodeSelector | toJson }}
  tolerations: {{ .Values.builds.tolerations | toJson }}
  labels: {app.kubernetes.io/part-of: kfops, app.kubernetes.io/name: kfops-build}
{{- end }}

{{- define "kfops.settings.pipeline-runner" -}}
{{ include "kfops.settings.common" (dict "root" . "name" "pipeline-runner") }}
state: /var/lib/kfops
store:
  {{- include "kfops.settings.bucket" (dict "root" . "url" .Values.store.url) | nindent 2 }}
sandbox:
  namespace: {{ include "kfops.compile" . }}
  image: {{ .Values.compile.image | quote }}
  service_account: kfops-compile
  {{- with .Values.compile.runtimeClass }}
  runtime_class: {{ . }}
  {{- end }}
  {{- with .Values.images.pullSecrets }}
  image_pull_secrets: {{ . | toJson }}
  {{- end }}
  node_selector: {{ .Values.compile.nodeSelector | toJson }}
  tolerations: {{ .Values.compile.tolerations | toJson }}
  labels: {app.kubernetes.io/part-of: kfops, app.kubernetes.io/name: kfops-compile}
kfp:
  url: {{ .Values.pipelines.url | quote }}
  {{- with .Values.namespaces.runs }}
  namespace: {{ . }}
  {{- end }}
  {{- if .Values.pipelines.multiUser }}
  token: /var/run/secrets/kubeflow/pipelines/token
  {{- end }}
  experiment: {{ .Values.pipelines.experiment | quote }}
  {{- with .Values.pipelines.serviceAccount }}
  service_account: {{ . }}
  {{- end }}
  {{- with .Values.pipelines.pipelineRoot }}
  pipeline_root: {{ . | quote }}
  {{- end }}
  artifacts:
    {{- include "kfops.settings.bucket" (dict "root" . "url" .Values.pipelines.artifacts) | nindent 4 }}
  metadata: {{ if .Values.pipelines.metadata }}{{ .Values.pipelines.metadata | quote }}{{ else }}null{{ end }}
{{- end }}

{{- define "kfops.settings.serving-deployer" -}}
{{ include "kfops.settings.common" (dict "root" . "name" "serving-deployer") }}
state: /var/lib/kfops
store:
  {{- include "kfops.settings.bucket" (dict "root" . "url" .Values.store.url) | nindent 2 }}
kserve:
  mode: {{ .Values.serving.mode }}
  url: {{ .Values.serving.url | default (printf "https://%s" .Values.host) | quote }}
  {{- with .Values.serving.ingress }}
  ingress: {{ . | quote }}
  {{- end }}
  gateway: {{ .Values.istio.gateway }}
  host: {{ .Values.serving.modelHost | quote }}
  path: {{ .Values.serving.modelPath | quote }}
  {{- with .Values.serving.serviceAccount }}
  service_account: {{ . }}
  {{- end }}
  {{- if and .Values.istio.enabled .Values.istio.users }}
  token_file: /var/run/secrets/kfops/ingress/token
  user: system:serviceaccount:{{ .Release.Namespace }}:kfops-serving-deployer
  {{- end }}
  ingress_principal: {{ include "kfops.ingressPrincipal" . }}
  metrics:
    namespace: {{ .Values.istio.ingressNamespace }}
    selector: {{ include "kfops.ingressSelector" . | quote }}
    {{- with .Values.serving.prometheus }}
    prometheus: {{ . | quote }}
    {{- end }}
{{- end }}

{{- define "kfops.ingressSelector" -}}
{{- $pairs := list -}}
{{- range $key, $value := .Values.istio.ingressSelector }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{ join "," $pairs }}
{{- end }}

{{/* The file of a service: (dict "root" $ "name" "gateway"). */}}
{{- define "kfops.settings" -}}
{{- $service := get (include "kfops.services" .root | fromYaml) .name -}}
{{- $ours := include (printf "kfops.settings.%s" .name) .root | fromYaml -}}
{{- with $ours.Error }}{{ fail . }}{{ end -}}
{{- $yours := get (get .root.Values $service.key) "settings" -}}
{{ mergeOverwrite $ours (deepCopy $yours) | toYaml }}
{{- end }}

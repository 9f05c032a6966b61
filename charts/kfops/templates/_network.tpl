{{/* The namespace that an address of the cluster is in; empty: it is outside. (dict "root" $ "host" "minio.kubeflow.svc") */}}
{{- define "kfops.namespaceOf" -}}
{{- $labels := splitList "." .host -}}
{{- if eq (len $labels) 1 -}}
{{ .root.Release.Namespace }}
{{- else if and (ge (len $labels) 3) (eq (index $labels 2) "svc") -}}
{{ index $labels 1 }}
{{- else if and (eq (len $labels) 2) .plain -}}
{{/* http://NAME.NAMESPACE: nobody outside is spoken to in the clear. */}}
{{- index $labels 1 -}}
{{- end -}}
{{- end }}

{{/* Host, port and so on of a URL, or of HOST[:PORT] behind https:// or http://. */}}
{{- define "kfops.egress" -}}
{{- $url := urlParse .url -}}
{{- $plain := eq $url.scheme "http" -}}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default ($plain | ternary "80" "443") -}}
{{- $namespace := include "kfops.namespaceOf" (dict "root" .root "host" $host "plain" $plain) -}}
{{- if and $namespace (eq $namespace .root.Values.istio.ingressNamespace) -}}
{{/* The ingress gateway: its pods alone, as network-policies.yaml says. */}}
{{- else if $namespace -}}
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ $namespace }}}}}]
{{- else -}}
- to: {{- include "kfops.outside" .root | nindent 4 }}
  ports: [{protocol: TCP, port: {{ $port }}}]
{{- end -}}
{{- end }}

{{/* Peers outside of the cluster. Nodes hand out credentials at 169.254.169.254. */}}
{{- define "kfops.outside" -}}
{{- range .Values.networkPolicies.outside }}
- ipBlock:
    cidr: {{ . | quote }}
    {{- if eq . "0.0.0.0/0" }}
    except: [169.254.0.0/16]
    {{- end }}
{{- end }}
{{- end }}

{{- define "kfops.egress.apiServer" -}}
- to:
  {{- range .Values.networkPolicies.apiServer }}
    - ipBlock: {cidr: {{ . | quote }}}
  {{- else }}
    {{- include "kfops.outside" . | nindent 4 }}
  {{- end }}
  ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 6443}]
{{- end }}


{{- define "kfops.egress.dns" -}}
- to: [{namespaceSelector: {}}, {ipBlock: {cidr: 169.254.20.10/32}}]
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}, {protocol: UDP, port: 5353}, {protocol: TCP, port: 5353}]
{{- end }}

{{/* Addresses that the values name, by who speaks to them. */}}
{{- define "kfops.addresses" -}}
{{- $values := .Values -}}
{{- $store := $values.store.endpoint | default "https://s3.amazonaws.com" -}}
{{- $registry := printf "%s://%s" ($values.registry.insecure | ternary "http" "https") $values.registry.prefix -}}
{{- $otlp := $values.telemetry.otlpEndpoint -}}
{{- $models := $values.serving.ingress | default $values.serving.url | default (printf "https://%s" $values.host) -}}
gateway: {{ list $otlp | toJson }}
scm-bot: {{ list $otlp $store $values.github.apiUrl | toJson }}
image-builder: {{ list $otlp $store $registry | toJson }}
pipeline-runner: {{ list $otlp $store $values.pipelines.url $values.pipelines.metadata | toJson }}
serving-deployer: {{ list $otlp $store $models $values.serving.prometheus | toJson }}
build: {{ list $otlp $store $registry | toJson }}
{{- end }}

{{/* Egress rules for the addresses of one of these, each once: (dict "root" $ "name" "build"). */}}
{{- define "kfops.egress.addresses" -}}
{{- $rules := list -}}
{{- range get (include "kfops.addresses" .root | fromYaml) .name | compact -}}
{{- $rules = append $rules (include "kfops.egress" (dict "root" $.root "url" .)) -}}
{{- end -}}
{{ join "\n" ($rules | compact | uniq) }}
{{- end }}

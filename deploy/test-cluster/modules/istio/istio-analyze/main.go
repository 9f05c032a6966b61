// istio-analyze does to files what `istioctl analyze --use-kube=false` does: Istio's own analysers over Kubernetes YAML, with what a
// mesh has by default. istioctl itself would compile 260 packages more than istiod has.
//
//	istio-analyze [--namespace NAMESPACE] [--suppress CODE=RESOURCE]... FILE...
//
// It prints Istio's messages and fails when one of them is a warning or an error, or when a file cannot be read.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/resource"
	"istio.io/istio/pkg/log"
)

func main() {
	namespace := flag.String("namespace", "default", "of what names none")
	var suppressions []local.AnalysisSuppression
	flag.Func("suppress", "CODE=RESOURCE, like IST0101=VirtualService name.namespace; again for more", func(text string) error {
		code, name, found := strings.Cut(text, "=")
		if !found || code == "" || name == "" {
			return fmt.Errorf("wanted: CODE=RESOURCE")
		}
		suppressions = append(suppressions, local.AnalysisSuppression{Code: code, ResourceName: name})
		return nil
	})
	flag.Parse()
	// Its own log says only how far the analysis is.
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.ErrorLevel)
	}
	if flag.NArg() == 0 {
		fail("wanted: files")
	}
	messages, err := analyze(*namespace, suppressions, flag.Args())
	if err != nil {
		fail(err)
	}
	refused := false
	for _, message := range messages {
		fmt.Println(message.String())
		refused = refused || message.Type.Level().IsWorseThanOrEqualTo(diag.Warning)
	}
	if refused {
		os.Exit(1)
	}
	fmt.Printf("istio-analyze: %d files, nothing found\n", flag.NArg())
}

func analyze(namespace string, suppressions []local.AnalysisSuppression, files []string) (diag.Messages, error) {
	analyzer := local.NewIstiodAnalyzer(analyzers.AllCombined(), resource.Namespace(namespace), "istio-system", nil)
	analyzer.SetSuppressions(suppressions)
	if err := analyzer.AddDefaultResources(); err != nil {
		return nil, err
	}
	var sources []local.ReaderSource
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		sources = append(sources, local.ReaderSource{Name: name, Reader: file})
	}
	if err := analyzer.AddReaderKubeSource(sources); err != nil {
		return nil, err
	}
	cancel := make(chan struct{})
	defer close(cancel)
	result, err := analyzer.Analyze(cancel)
	return result.Messages, err
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "istio-analyze:", why)
	os.Exit(2)
}

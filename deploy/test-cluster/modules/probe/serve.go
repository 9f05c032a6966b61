// What probe serves.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func serve(address string) error {
	name, _ := os.Hostname()
	fmt.Println("serving", address, "as user", os.Getuid())
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s answers %s path=%s user=%q certificate=%q\n", name, r.RemoteAddr, r.URL.Path,
			r.Header.Get("kubeflow-userid"), r.Header.Get("X-Forwarded-Client-Cert"))
	}))
}

func serveGRPC(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	return server.Serve(listener)
}

func serveWebhook(address, certificate, key string) error {
	return http.ListenAndServeTLS(address, certificate, key, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			APIVersion, Kind string
			Request          struct {
				UID    string
				Object struct {
					Metadata struct{ Labels map[string]string }
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": review.APIVersion,
			"kind":       review.Kind,
			"response": map[string]any{
				"uid":     review.Request.UID,
				"allowed": review.Request.Object.Metadata.Labels["deny"] != "yes",
				"status":  map[string]any{"message": "denied by the probe's webhook"},
			},
		})
	}))
}

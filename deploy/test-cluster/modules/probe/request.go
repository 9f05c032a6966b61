// What probe asks of others.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// request prints the status and the body of each answer.
func request(url string, arguments []string) error {
	flags := flag.NewFlagSet("request", flag.ExitOnError)
	body := flags.String("d", "", "body: makes it a POST of JSON")
	times := flags.Int("n", 1, "how often")
	headers := http.Header{}
	flags.Func("H", "header, NAME:VALUE", func(header string) error {
		name, value, _ := strings.Cut(header, ":")
		headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	client := http.Client{Timeout: 10 * time.Second}
	for range *times {
		method := http.MethodGet
		if *body != "" {
			method = http.MethodPost
		}
		r, err := http.NewRequest(method, url, strings.NewReader(*body))
		if err != nil {
			return err
		}
		r.Header = headers.Clone()
		if host := r.Header.Get("Host"); host != "" {
			r.Host = host
		}
		if *body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		answer.Body.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", answer.StatusCode, strings.TrimSpace(string(content)))
	}
	return nil
}

func check(address string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := healthpb.NewHealthClient(connection).Check(deadline, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	fmt.Println(answer.Status)
	return nil
}

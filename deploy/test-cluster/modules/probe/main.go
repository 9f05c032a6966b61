// probe is what the proofs run in pods: a server that says what it saw of its caller, a client, an admission webhook, and
// whatever else a pod must do to be looked at.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

const usage = `probe serve ADDRESS            HTTP: says who called and what the mesh made of it
probe serve-grpc ADDRESS       gRPC health: every service is SERVING
probe webhook ADDRESS CERT KEY validating admission webhook: denies what is labelled deny=yes
probe request URL [ARGUMENTS]  an HTTP request: -H NAME:VALUE, -d BODY, -n TIMES
probe check ADDRESS            a gRPC health check
probe connect ADDRESS          a TCP connection, closed at once
probe lookup NAME...           addresses of names
probe cat FILE                 a file's content
probe sleep                    until it is killed
probe fill MEBIBYTES           takes memory and keeps it`

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("%s", usage))
	}
	arguments := os.Args[2:]
	at := func(i int) string {
		if i >= len(arguments) {
			fail(fmt.Errorf("%s", usage))
		}
		return arguments[i]
	}
	switch os.Args[1] {
	case "serve":
		fail(serve(at(0)))
	case "serve-grpc":
		fail(serveGRPC(at(0)))
	case "webhook":
		fail(serveWebhook(at(0), at(1), at(2)))
	case "request":
		fail(request(at(0), arguments[1:]))
	case "check":
		fail(check(at(0)))
	case "connect":
		connection, err := net.DialTimeout("tcp", at(0), 3*time.Second)
		fail(err)
		fmt.Println("connected to", connection.RemoteAddr())
	case "lookup":
		for _, name := range arguments {
			addresses, err := net.DefaultResolver.LookupHost(context.Background(), name)
			fail(err)
			fmt.Println(name, addresses)
		}
	case "cat":
		content, err := os.ReadFile(at(0))
		fail(err)
		_, err = os.Stdout.Write(content)
		fail(err)
	case "sleep":
		time.Sleep(1 << 62)
	case "fill":
		mebibytes, err := strconv.Atoi(at(0))
		fail(err)
		memory := make([]byte, mebibytes<<20)
		for i := range memory {
			memory[i] = byte(i)
		}
		fmt.Println("filled", len(memory))
		time.Sleep(1 << 62)
	default:
		fail(fmt.Errorf("%s", usage))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

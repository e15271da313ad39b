//go:build linux

// Grpc asks for the same decisions as bench/ask, by gRPC: with unary calls, and with Envoy's external processing, a stream for each
// request. It is a separate module, so that the project does not depend on gRPC, and runs as a child process of bench/ask.
package main

import (
	"errors"
	"log"
	"os"
	"strconv"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("ask by gRPC: ")
	err := errors.New("this program is started by bench/ask")
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "answer":
			var n int
			if n, err = strconv.Atoi(os.Args[2]); err == nil {
				err = answer(n)
			}
		case "edge":
			err = edge()
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}

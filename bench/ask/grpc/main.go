//go:build linux

// Grpc asks for the same decisions as bench/ask does, in the ways that people use today: by
// unary calls, and by Envoy's external processing, a stream for each request. It is a
// module of its own, so that the project does not depend on gRPC, and a child of
// bench/ask, whose orders it obeys.
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

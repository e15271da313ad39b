//go:build !linux

package main

import "fmt"

func main() { fmt.Println("attack: the measurement needs Linux") }

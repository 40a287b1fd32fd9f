//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: CPU time by scheduler statistics, pinning and namespaces are Linux's: run it there")
	os.Exit(1)
}

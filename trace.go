package main

import (
	"github.com/spf13/cobra"
)

func newTrace() *cobra.Command { return &cobra.Command{Use: "trace", Hidden: true} }

package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// build is what `vpcprobe version -o json` shows.
type build struct {
	SchemaVersion int    `json:"schema_version"`
	Version       string `json:"version"`
	Go            string `json:"go"`
	Platform      string `json:"platform"`
}

func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print build information",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := build{1, version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			switch output {
			case "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			case "text":
				fmt.Fprintf(cmd.OutOrStdout(), "vpcprobe %s (%s, %s)\n", b.Version, b.Go, b.Platform)
				return nil
			}
			return unknownOutput(output, "text", "json")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text or json")
	return cmd
}

// unknownOutput is the usage error for a format that a command does not have.
func unknownOutput(got string, want ...string) error {
	return exit{exitUsage, fmt.Errorf("unknown output format %q: use one of %q", got, want)}
}

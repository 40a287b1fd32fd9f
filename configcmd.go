package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vpcprobe/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Validate, print and start a configuration file",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigValidate(), newConfigPrint(), newConfigSchema(), newConfigInit())
	return cmd
}

func newConfigValidate() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Report every mistake in a configuration file, with its place",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				path = args[0]
			}
			loaded, err := load(path, nil, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: valid: %s, %s\n", path,
				count(len(loaded.Targets), "target"), count(len(loaded.Warnings), "warning"))
			return err
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func newConfigPrint() *cobra.Command {
	var path string
	var origins bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, without its secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := load(path, nil, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return loaded.Print(cmd.OutOrStdout(), origins)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&origins, "origins", true, "say where each value comes from")
	return cmd
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors and charts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := config.Schema(kindNames(), findingIDs())
			if err != nil {
				return exit{exitInternal, err}
			}
			_, err = cmd.OutOrStdout().Write(schema)
			return err
		},
	}
}

func newConfigInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Print a commented configuration file to start from",
		Example: "  vpcprobe config init >vpcprobe.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), config.Starter())
			return err
		},
	}
}

// count says how many things there are, in words that agree with the number.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vpcprobe/agent"
	"vpcprobe/agent/report"
	"vpcprobe/agent/service"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

func newCheck() *cobra.Command {
	var path, output string
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [TARGET...]",
		Short: "Walk every target once and say what is wrong",
		Long: `Check walks the targets once, in parallel, and streams what it sees layer by
layer. What is wrong is named with its cause and its fix; the most important
finding is repeated last.

` + exitCodes,
		Example: `  vpcprobe check -c vpcprobe.yaml
  vpcprobe check -c vpcprobe.yaml orders -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return unknownOutput(output, "table", "json")
			}
			loaded, err := load(path, nil, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if w := proxyWarning(os.Getenv, loaded.Targets); w != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			a, err := newAgent(&loaded.Config, probes.Host(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			if err != nil {
				return exit{exitUsage, fmt.Errorf("%s: %w", path, err)}
			}
			rounds, err := check(cmd.Context(), a, args, output, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return verdictExit(cmd.Context(), rounds, strict)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "output format: table or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 4 if there are warnings only")
	return cmd
}

// check walks the named targets once and prints what was learned.
func check(ctx context.Context, a *agent.Agent, names []string, output string, w io.Writer) ([]agent.Round, error) {
	if output == "json" {
		rounds, err := a.Check(ctx, names, func(agent.Step) {})
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		return rounds, writeJSON(w, a.Document(rounds))
	}
	r := report.New(w, style(w))
	rounds, err := a.Check(ctx, names, r.Step)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return rounds, r.Finish(rounds)
}

// verdictExit turns verdicts and findings into the exit code.
func verdictExit(ctx context.Context, rounds []agent.Round, strict bool) error {
	if ctx.Err() != nil {
		return exit{code: exitInterrupted}
	}
	code := 0
	for _, r := range rounds {
		code = worse(code, roundCode(r))
	}
	switch {
	case code == 0, code == exitWarning && !strict:
		return nil
	}
	return exit{code: code}
}

// roundCode is the exit code that one target asks for. Where callers fail, it
// is that of an error, even if only warnings say why.
func roundCode(r agent.Round) int {
	if r.Verdict == agent.Reachable {
		return 0
	}
	warned := false
	for _, f := range r.Findings {
		if f.Rule.Severity == probes.Error {
			return exitError
		}
		warned = warned || f.Rule.Severity == probes.Warning
	}
	switch {
	case r.Verdict == agent.Unknown:
		return exitInternal
	case warned && r.Verdict == agent.Degraded && r.Failing == 0:
		return exitWarning
	}
	return exitError
}

// worse returns the graver of two exit codes: an error finding outweighs our
// own trouble, and that outweighs a warning.
func worse(a, b int) int {
	rank := map[int]int{0: 0, exitWarning: 1, exitInternal: 2, exitError: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// configFlag adds the flag that names the configuration file.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "vpcprobe.yaml", "configuration `FILE`")
	cmd.MarkFlagFilename("config", "yaml", "yml")
}

// load reads the configuration; its warnings go to log.
func load(path string, flags map[string]string, log io.Writer) (*config.Loaded, error) {
	loaded, err := source{path: path, flags: flags}.load()
	if err != nil {
		return nil, exit{exitUsage, missingFile(err)}
	}
	for _, w := range loaded.Warnings {
		fmt.Fprintf(log, "warning: %s\n", w)
	}
	return loaded, nil
}

// missingFile says of a file that is not there how to get one.
func missingFile(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w\n'vpcprobe config init' prints a file to start from", err)
	}
	return err
}

func kindNames() []string {
	var names []string
	for _, k := range all.Kinds {
		names = append(names, k.Name)
	}
	return names
}

// newAgent binds the configured targets to all kinds of probe.
func newAgent(c *config.Config, sys probes.System, log *slog.Logger) (*agent.Agent, error) {
	return agent.New(c.Targets, all.Kinds, sys, agent.Options{
		Concurrency: c.Concurrency, Version: version(), Log: log, Alarm: alarm, CPUTime: service.CPUTime,
	})
}

// alarm returns one of the kernel's, nil if it gives none.
func alarm() agent.Alarm {
	if a, err := service.NewAlarm(); err == nil {
		return a
	}
	return nil
}

// Command vpcprobe says from inside a VPC whether a private API of Amazon API
// Gateway can be reached through its execute-api VPC endpoint, and if not,
// exactly why.
//
// This package is the command line and nothing more: it reads flags, joins the
// packages that do the work, and turns what they say into exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// The exit codes, documented in the help of the root command.
const (
	exitInternal    = 1
	exitUsage       = 2
	exitError       = 3
	exitWarning     = 4
	exitInterrupted = 130
)

// An exit ends the program with a code. Its error may be nil, when everything
// that matters was already said on standard output.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

func main() {
	runtime.MemProfileRate = 0 // nobody reads such a profile, and the records of one take up to 2 MB
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(inTime(ctx, func() int { return execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }))
}

// latest is how long after its interruption the program ends at the latest: no
// command takes so long to end, but a read may block, of a terminal or a pipe that
// nobody writes to, or of a file whose server is gone.
const latest = 3 * time.Second

// inTime returns the exit code of a command that runs.
func inTime(ctx context.Context, command func() int) int {
	code := make(chan int, 1)
	go func() { code <- command() }()
	select {
	case c := <-code:
		return c
	case <-ctx.Done():
	}
	select {
	case c := <-code:
		return c
	case <-time.After(latest):
		return exitInterrupted
	}
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, log io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(log)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[exit](err)
	if !ok {
		e = exit{exitUsage, fmt.Errorf("%w\nRun 'vpcprobe --help' for the commands and their flags", err)}
	}
	if e.err != nil {
		fmt.Fprintln(log, "vpcprobe:", e.err)
	}
	return e.code
}

const about = `vpcprobe says from inside a VPC whether a private API of Amazon API Gateway can be
reached through its execute-api VPC endpoint, and if not, exactly why.

It walks each target up the network stack (names, TCP 443, the path, certificates,
TLS, a signed request), once or on schedule, and names the root cause and the fix.`

const exitCodes = `Exit codes:
  0    every target is reachable
  1    internal error
  2    wrong usage or configuration
  3    an error finding, whatever its certainty
  4    warnings only, with --strict
  130  interrupted; what was learned is still printed`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "vpcprobe",
		Short:             "why a private API can or cannot be reached from inside a VPC",
		Long:              about + "\n\n" + exitCodes,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: false},
	}
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(
		newRun(), newCheck(), newLab(), newExplain(), newCert(), newTrace(),
		newConfig(), newHealth(), newVersion(),
	)
	return root
}

// version is the module's version as the build knows it: a tag, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

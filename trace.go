package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"vpcprobe/probes/trace"
)

func newTrace() *cobra.Command {
	var o trace.WatchOptions
	var output string
	cmd := &cobra.Command{
		Use:   "trace HOST[:PORT]",
		Short: "Trace the TCP path to a host, as nobody",
		Long: `Trace finds how far a TCP SYN gets on its way to each address of a host, who
answers it, and where silence begins. It replaces traceroute -n -T -p 443 and
telnet, and needs no privileges and no capabilities.

Exit codes: 0 every address is open, 3 one is not, 2 the host cannot be traced.`,
		Example: `  vpcprobe trace 10.0.1.17
  vpcprobe trace vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com:443 --mtu
  vpcprobe trace 10.0.1.17 --every 5s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return unknownOutput(output, "table", "json")
			}
			host, addrs, err := trace.Lookup(cmd.Context(), args[0])
			if err != nil {
				return exit{exitUsage, err}
			}
			o.ServerName = host
			w := cmd.OutOrStdout()
			t := tracing{w: w, json: output == "json", redraw: o.Every > 0 && style(w).Width > 0, last: map[netip.AddrPort]*trace.Result{}}
			return t.all(cmd.Context(), addrs, o)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "output format: table or json (one line per trace)")
	cmd.Flags().BoolVar(&o.Paris, "paris", false, "a second pass in which all SYNs are of one flow, so that load balancers send them one way")
	cmd.Flags().BoolVar(&o.MTU, "mtu", false, "also measure how large packets may be, in both directions")
	cmd.Flags().DurationVar(&o.Every, "every", 0, "trace again and again at this interval")
	return cmd
}

// A tracing shows the traces to the addresses of one host.
type tracing struct {
	w      io.Writer
	json   bool
	redraw bool // the terminal shows the latest table only

	mu   sync.Mutex
	last map[netip.AddrPort]*trace.Result
}

// stagger is how long traces of several addresses wait for each other: they
// share their first routers, which answer only so often.
const stagger = 200 * time.Millisecond

// all traces the addresses side by side.
func (t *tracing) all(ctx context.Context, addrs []netip.AddrPort, o trace.WatchOptions) error {
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			select {
			case <-time.After(time.Duration(i) * stagger):
				errs[i] = t.one(ctx, addr, o)
			case <-ctx.Done():
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		return exit{exitUsage, err}
	}
	if o.Every == 0 && ctx.Err() != nil {
		return exit{code: exitInterrupted}
	}
	for _, r := range t.last {
		if r.State != trace.Open {
			return exit{code: exitError}
		}
	}
	return nil
}

func (t *tracing) one(ctx context.Context, addr netip.AddrPort, o trace.WatchOptions) error {
	var table trace.Table
	return trace.Watch(ctx, addr, o, func(r *trace.Result) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.last[addr] = r
		if t.json {
			return writeLine(t.w, struct {
				SchemaVersion int `json:"schema_version"`
				*trace.Result
			}{1, r})
		}
		table.Add(r)
		if t.redraw {
			fmt.Fprint(t.w, "\x1b[H\x1b[2J")
		}
		_, err := table.WriteTo(t.w)
		return err
	})
}

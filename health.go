package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout bounds the self-check: a container runtime waits for it.
const healthTimeout = 3 * time.Second

func newHealth() *cobra.Command {
	var address string
	var require []string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the running agent whether it is well itself, for container health checks",
		Long: `Health asks the agent on this machine for its own health: its scheduler is alive
and its endpoint answers. It never reflects the targets: a container that is
restarted because a target is down would lose sight of the outage.

With --require it succeeds only while the named targets are reachable: for
holding an application back until its path is proven.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			if err := askHealth(ctx, address, require); err != nil {
				return exit{exitInternal, err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1:9644", "the agent's health_listen `ADDRESS`")
	cmd.Flags().StringSliceVar(&require, "require", nil, "`TARGET`s that must be reachable")
	return cmd
}

// askHealth asks the agent at a loopback address for its health, or whether the
// required targets are reachable.
func askHealth(ctx context.Context, address string, require []string) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	}}
	what := "http://localhost/healthz"
	if len(require) > 0 {
		what = "http://localhost/readyz?" + url.Values{"require": require}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, what, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the agent does not answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent says no: %s: %s", response.Status, body)
	}
	return nil
}

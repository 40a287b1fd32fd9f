package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"vpcprobe/agent"
	"vpcprobe/agent/metrics"
	"vpcprobe/agent/status"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

func newRun() *cobra.Command {
	var path, listen string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Walk every target on schedule; serve metrics, status and a page",
		Long: `Run walks the targets on schedule until it is told to stop, and serves what it
learns: / (a page), /metrics (Prometheus), /api/v1/status (JSON), /healthz and
/readyz.`,
		Example: "  vpcprobe run -c vpcprobe.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := map[string]string{}
			if listen != "" {
				flags["listen"] = listen
			}
			loaded, err := load(path, flags, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return serve(cmd.Context(), &loaded.Config, probes.Host(), newLogger(cmd.ErrOrStderr(), loaded.Log))
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&listen, "listen", "", "`ADDRESS` to serve on, instead of the configuration's")
	return cmd
}

// stopTimeout bounds how long requests to our endpoints may hold up the end.
const stopTimeout = time.Second

// serve runs the agent and its endpoints until ctx is done.
func serve(ctx context.Context, c *config.Config, sys probes.System, log *slog.Logger, sinks ...agent.Sink) error {
	a, err := newAgent(c, sys, log)
	if err != nil {
		return exit{exitUsage, err}
	}
	m := metrics.New(all.Kinds, metrics.Options{Version: version(), Stats: a.Stats, Native: c.Metrics.NativeHistograms})
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("listen: %w", err)}
	}
	server := status.NewServer(status.New(a, status.Options{Metrics: m.Handler()}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("probing", "targets", len(c.Targets), "listen", listener.Addr().String())

	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			log.Error("the endpoint failed", "error", err)
			stop()
		}
	}()
	a.Run(running, append(sinks, m)...)

	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(ending) != nil {
		server.Close()
	}
	if ctx.Err() == nil {
		return exit{exitInternal, errors.New("the endpoint failed")}
	}
	return nil
}

// newLogger returns a logger as configured.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(c.Level)) // validated by config; the zero level is info
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

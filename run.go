package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vpcprobe/agent"
	"vpcprobe/agent/export"
	"vpcprobe/agent/metrics"
	"vpcprobe/agent/service"
	"vpcprobe/agent/status"
	"vpcprobe/agent/web"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

func newRun() *cobra.Command {
	var path, listen, part string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Walk every target on schedule; serve metrics, status and a page",
		Long: `Run walks the targets on schedule until it is told to stop, and serves what it
learns: / (a page), /metrics (Prometheus), /probe (for what expects
blackbox_exporter), /api/v1/status (JSON), /healthz and /readyz.

A changed configuration is noticed, and SIGHUP reads it again. If anything is
wrong with it, the old one stays, and log, metrics and status say so.`,
		Example: `  vpcprobe run -c vpcprobe.yaml
  vpcprobe run -c env:VPCPROBE_CONFIG        # the configuration's text is in the environment
  vpcprobe run -c vpcprobe.yaml --shard 0/3  # a third of the targets`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := source{path: path, flags: map[string]string{}}
			if listen != "" {
				s.flags["listen"] = listen
			}
			if err := s.shard.parse(part); err != nil {
				return exit{exitUsage, err}
			}
			return run(cmd.Context(), s, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&listen, "listen", "", "`ADDRESS` to serve on, instead of the configuration's")
	cmd.Flags().StringVar(&part, "shard", "", "walk `I/N`, the i-th of n parts of the targets, from 0; or NAME-I/N with a StatefulSet's pod name")
	return cmd
}

func (s *shard) parse(text string) (err error) {
	if text != "" {
		s.i, s.n, err = service.ParseShard(text)
	}
	return err
}

// run is the agent as a service.
func run(ctx context.Context, s source, stdout, stderr io.Writer) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // who wants it to reload while it still starts must not end it
	defer signal.Stop(hangup)
	limit, file := service.LimitMemory(os.DirFS("/")) // first, as reading many targets takes more memory than walking them
	text := s.read()
	loaded, err := s.parse(text)
	if err != nil {
		return exit{exitUsage, missingFile(err)}
	}
	log := newLogger(stderr, loaded.Log)
	for _, w := range loaded.Warnings {
		log.Warn("configuration", "warning", w.String())
	}
	if w := proxyWarning(os.Getenv, loaded.Targets); w != "" {
		log.Warn("environment", "warning", w)
	}
	if limit > 0 {
		log.Info("memory limit", "bytes", limit, "file", file)
	}
	manager, err := service.FromEnvironment()
	if err != nil {
		log.Warn("the service manager will not be told how the agent is doing", "error", err)
	}
	return serve(ctx, daemon{
		config: loaded.Config, source: s, seen: text.sum(), hangup: hangup,
		system: probes.Host(), log: log, manager: manager, stdout: stdout,
	})
}

// A daemon is what serve needs. Without the path of a source, the
// configuration is never read again; a nil manager is told nothing.
type daemon struct {
	config  config.Config
	source  source
	seen    sum            // of the configuration's text
	hangup  chan os.Signal // SIGHUPs since the program began; nil if they count from now on
	system  probes.System
	log     *slog.Logger
	manager *service.Notifier
	stdout  io.Writer // where metrics.emf writes
	sinks   []agent.Sink
}

// settling is how long after its start the agent has seen every target and does
// what it will do all its life. Then it gives back what only starting took.
const settling = 10 * time.Second

// stopTimeout bounds how long requests to our endpoints may hold up the end.
const stopTimeout = 300 * time.Millisecond

// serve runs the agent and its endpoints until ctx is done.
func serve(ctx context.Context, d daemon) error {
	a, err := newAgent(&d.config, d.system, d.log)
	if err != nil {
		return exit{exitUsage, err}
	}
	service.FreeMemory() // reading the configuration took many times what the targets take
	m := metrics.New(all.Kinds, metrics.Options{Version: version(), Stats: a.Stats, Native: d.config.Metrics.NativeHistograms})
	options := status.Options{Metrics: m.Handler(), Probe: metrics.Blackbox(all.Kinds, a.StatusOf)}

	asked := ctx
	ctx, stop := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	defer func() { stop(nil); background.Wait() }()
	if d.source.path != "" {
		r := newReloader(d.source, d.seen, d.config, a, d.log, m.Reloaded)
		r.manager = d.manager
		options.ConfigError = r.state
		if d.config.Reload.HTTP {
			options.Reload = r.reload
		}
		hangup := cmp.Or(d.hangup, make(chan os.Signal, 1))
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		background.Go(func() { r.poll(ctx, d.config.Reload.Every, hangup) })
	}
	push, err := d.export(m)
	if err != nil {
		return exit{exitUsage, err}
	}
	servers, err := listen(d.config, a, status.New(a, options), &m.Own, d.log)
	if err != nil {
		return exit{exitUsage, err}
	}
	for _, s := range servers {
		background.Go(func() { stop(s.serve()) })
		d.log.Info("listening", "address", s.listener.Addr().String(), "for", s.what)
	}
	for _, run := range push {
		background.Go(func() { run(ctx) })
	}
	background.Go(func() { d.manager.Watch(ctx, d.log, a.Health) })
	background.Go(func() { service.Collect(ctx) })
	settled := time.AfterFunc(settling, service.FreeMemory)
	defer settled.Stop()
	d.manager.Ready(probing(a, nil))
	a.Run(ctx, append(d.sinks, m)...)
	d.manager.Stopping()
	for _, s := range servers {
		s.close()
	}
	if asked.Err() == nil {
		return exit{exitInternal, context.Cause(ctx)}
	}
	return nil
}

// export prepares what carries metrics to where there is no Prometheus, and
// returns what is to run meanwhile.
func (d *daemon) export(m *metrics.Metrics) (run []func(context.Context), err error) {
	if d.config.Metrics.EMF {
		emf := export.NewEMF(d.stdout, export.EMFOptions{Log: d.log})
		d.sinks = append(d.sinks, emf)
		m.Own.EMFDropped = emf.Dropped
		run = append(run, emf.Run)
	}
	if to := d.config.Metrics.OTLP; to.Endpoint != "" {
		otlp, err := export.NewOTLP(context.Background(), m, export.Options{
			Endpoint: to.Endpoint, Every: to.Every, Version: version(), Log: d.log,
		})
		if err != nil {
			return nil, fmt.Errorf("metrics.otlp: %w", err)
		}
		m.Own.OTLP = func() metrics.Pushes {
			s := otlp.Stats()
			return metrics.Pushes{Succeeded: s.Pushed, Failed: s.Failed, Rejected: s.Rejected, Latest: s.Latest}
		}
		run = append(run, func(ctx context.Context) {
			otlp.Run(ctx)
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			otlp.Shutdown(last)
		})
	}
	return run, nil
}

// An endpoint is a listener and what is served there.
type endpoint struct {
	what     string
	listener net.Listener
	server   *http.Server
}

// listen opens the agent's endpoints: the one for people and Prometheus, and
// the loopback one for the container runtime. Own learns how the web
// configuration is doing.
func listen(c config.Config, a *agent.Agent, handler http.Handler, own *metrics.Own, log *slog.Logger) ([]endpoint, error) {
	front, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	endpoints := []endpoint{{"metrics, status and page", front, status.NewServer(handler)}}
	if c.WebConfigFile != "" {
		w, err := web.Load(c.WebConfigFile)
		if err != nil {
			front.Close()
			return nil, err
		}
		w.Log, own.WebConfig = log, w.Err
		if endpoints[0].listener, err = w.Secure(endpoints[0].server, front); err != nil {
			front.Close()
			return nil, err
		}
	}
	if c.HealthListen == "off" {
		return endpoints, nil
	}
	loopback, err := net.Listen("tcp", c.HealthListen)
	if err != nil {
		front.Close()
		return nil, fmt.Errorf("health_listen: %w", err)
	}
	return append(endpoints, endpoint{"the health check", loopback, status.NewServer(status.NewHealth(a))}), nil
}

// serve serves until close; any other end is an error.
func (e endpoint) serve() error {
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the endpoint for %s failed: %w", e.what, err)
	}
	return nil
}

func (e endpoint) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		e.server.Close()
	}
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

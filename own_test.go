package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"vpcprobe/agent/metrics"
	"vpcprobe/config"
)

// A service shows how its web configuration and its pushes are doing.
func TestOwnHealth(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "")
	l := startLab(t)
	refuse := make(chan bool, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-refuse:
			w.WriteHeader(http.StatusBadRequest)
		default:
		}
	}))
	defer collector.Close()
	dir := t.TempDir()
	web := write(t, dir, "web.yml", "http_server_config: {headers: {X-Frame-Options: deny}}\n")
	path := write(t, dir, "vpcprobe.yaml", onFreePorts+"web_config_file: "+web+
		"\nmetrics: {otlp: {endpoint: \""+collector.URL+"\", every: 1s}}\n"+lookups(l, "a"))
	s := launch(t, source{path: path}, l.System())
	is := func(series string, want float64) func() bool {
		return func() bool { v, ok := s.metric(series); return ok && v == want }
	}
	pushed := func(series string) func() bool {
		return func() bool { v, _ := s.metric(series); return v > 0 }
	}
	s.eventually("the web configuration is good", is("web_config_last_reload_successful", 1))
	s.eventually("a push", pushed(`otlp_pushes_total{result="success"}`))
	s.eventually("a time of a push", pushed("otlp_last_success_timestamp_seconds"))
	if !is(`otlp_pushes_total{result="failure"}`, 0)() || !is("otlp_rejected_points_total", 0)() {
		t.Error("pushes failed or were refused from the start")
	}
	refuse <- true
	s.eventually("a push that fails", is(`otlp_pushes_total{result="failure"}`, 1))
	must(t, os.WriteFile(filepath.Join(dir, "web.yml"), []byte("http_server_config: {header: {}}\n"), 0o600))
	s.eventually("the web configuration is bad", is("web_config_last_reload_successful", 0))
	if _, ok := s.metric("emf_dropped_rounds_total"); ok {
		t.Error("dropped rounds are counted although none are written")
	}
}

// What is written for CloudWatch is counted if it is dropped.
func TestOwnHealthOfEMF(t *testing.T) {
	t.Parallel()
	m := metrics.New(nil, metrics.Options{})
	d := daemon{config: config.Config{Metrics: config.Metrics{EMF: true}}, stdout: io.Discard, log: slog.New(slog.DiscardHandler)}
	if _, err := d.export(m); err != nil || m.Own.EMFDropped == nil || m.Own.EMFDropped() != 0 || m.Own.OTLP != nil {
		t.Errorf("%+v, %v", m.Own, err)
	}
}

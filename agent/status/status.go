// Package status serves the agent's page and endpoints.
package status

import (
	"net/http"

	"vpcprobe/agent"
)

// Options say what is served beside the status.
type Options struct {
	Metrics http.Handler // served at /metrics; may be nil
}

// New returns the handler of all endpoints.
func New(a *agent.Agent, o Options) http.Handler { return http.NotFoundHandler() }

// NewServer returns a server with strict limits and timeouts.
func NewServer(h http.Handler) *http.Server { return &http.Server{Handler: h} }

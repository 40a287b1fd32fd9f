// Package web puts TLS, client certificates, basic authentication and security
// headers in front of the agent's endpoints, as the web configuration format
// of the Prometheus exporter-toolkit says.
//
// It reads the format itself, because the toolkit's dependencies switch off
// the linker's dead-code elimination; a test beside the project holds it
// against the toolkit. It listens to nothing and serves nothing of its own. A
// change of the file, or of the certificates it names, applies to the next
// connection and request; a change for the worse applies to none, and is told.
package web

//lint:file-ignore SA1019 http.Server.Protocols needs net/http's own HTTP/2, which release builds leave out

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/http2"
)

// A Config is a web configuration file in force. Its methods may be called
// from any goroutine.
type Config struct {
	// Log is told when the file or a certificate has become bad, and when it
	// is good again. It may be set before the Config is used; nil discards.
	Log *slog.Logger

	path      string
	passwords *passwords

	mu    sync.Mutex
	files files // what the settings in force, or the latest error, came from
	now   *settings
	err   error
}

// Load reads a web configuration file and the certificates that it names.
// Paths in it are relative to the file. Its errors name file and line, and
// never the content of a key or a password.
func Load(path string) (*Config, error) {
	c := &Config{path: path, passwords: newPasswords()}
	s, err := c.read()
	if err != nil {
		return nil, err
	}
	c.now = s
	return c, nil
}

// read makes settings of what the files say now.
func (c *Config) read() (*settings, error) {
	c.files = files{}
	d, err := readDocument(c.path, c.files.read)
	if err != nil {
		return nil, err
	}
	return d.settings(c.path, c.files.read)
}

// current returns the settings in force, after looking whether the files have
// changed.
func (c *Config) current() *settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.files.changed() {
		return c.now
	}
	s, err := c.read()
	if err == nil {
		err = s.replaces(c.now, c.path)
	}
	if err == nil {
		c.now = s
	}
	c.tell(err)
	return c.now
}

// tell notes and logs how reading the files again ended, unless it is no news.
func (c *Config) tell(err error) {
	log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	switch {
	case err != nil && (c.err == nil || c.err.Error() != err.Error()):
		log.Error("the web configuration is bad; the one before stays in force", "error", err)
	case err == nil && c.err != nil:
		log.Info("the web configuration is good again", "file", c.path)
	}
	c.err = err
}

// Err says why the files cannot be put in force as they are now, nil if they
// are.
func (c *Config) Err() error {
	c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// String says where the configuration is, and none of its secrets.
func (c *Config) String() string { return "web configuration " + c.path }

// TLSConfig returns what a listener needs to speak TLS as configured, always
// with the latest certificates; nil if the file asks for no TLS.
func (c *Config) TLSConfig() *tls.Config {
	s := c.current()
	if s.tls == nil {
		return nil
	}
	t := s.tls.Clone()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current().tls, nil }
	return t
}

// Secure puts the configuration in front of s, which must not serve yet, and
// returns the listener to serve on: one that speaks TLS on the connections of
// l, or l itself if the file asks for no TLS.
//
// HTTP/2 is x/net's, because release builds leave net/http's own out.
func (c *Config) Secure(s *http.Server, l net.Listener) (net.Listener, error) {
	s.Handler = c.wrap(s.Handler)
	t := c.TLSConfig()
	if t == nil {
		return l, nil
	}
	if err := http2.ConfigureServer(s, nil); err != nil {
		return nil, err
	}
	return tls.NewListener(l, t), nil
}

// wrap returns h behind rate limit, security headers and basic authentication
// as the file has them.
func (c *Config) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := c.current()
		if !s.limit.allow() {
			refuse(w, http.StatusTooManyRequests)
			return
		}
		for name, value := range s.headers {
			w.Header().Set(name, value)
		}
		if len(s.users) > 0 && !c.passwords.ok(r, s) {
			w.Header().Set("WWW-Authenticate", "Basic")
			refuse(w, http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

// replaces says why settings that were read again must not take the place of
// those in force; if they may, they take over what must survive.
func (s *settings) replaces(old *settings, path string) error {
	if (s.tls == nil) != (old.tls == nil) {
		return fmt.Errorf("%s: TLS cannot be switched on or off without a restart", path)
	}
	if s.limit.same(old.limit) {
		s.limit = old.limit
	}
	return nil
}

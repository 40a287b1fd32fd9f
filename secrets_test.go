package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"vpcprobe/agent"
	"vpcprobe/agent/export"
	"vpcprobe/agent/metrics"
	"vpcprobe/agent/report"
	"vpcprobe/agent/status"
	"vpcprobe/config"
	"vpcprobe/lab"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// headerToken is the secret of a header, kept in a variable of the environment.
const (
	headerToken    = "header-secret-5b0e77c1d2"
	headerVariable = "TEST_OF_VPCPROBE_HEADER"
)

// planted are the secrets of a lab, in the forms in which they might show:
// what is hidden must be hidden in all of them.
func planted(l *lab.Lab) map[string]string {
	forms := map[string]string{}
	for name, secret := range map[string]string{
		"the secret access key":               "0123456789abcdefghijklmnopqrstuv", // what follows its slash
		"the session token":                   strings.TrimRight(lab.SessionToken, "="),
		"the API key":                         lab.APIKey,
		"the bearer token":                    lab.BearerToken,
		"the web identity":                    lab.WebIdentity,
		"the container's authorization token": "lab-container-authorization-token-3d21",
		"the metadata service's token":        "lab-imds-token",
		"the header's secret":                 headerToken,
	} {
		forms[name] = secret
		forms[name+", escaped"] = url.QueryEscape(secret)
		forms[name+", in base64"] = base64.RawStdEncoding.EncodeToString([]byte(secret))
		forms[name+", in hexadecimal"] = fmt.Sprintf("%x", secret)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(l.System().Hosts), "client.key"))
	if err != nil {
		return forms
	}
	for i, line := range strings.Split(string(text), "\n") {
		if len(line) > 20 && !strings.HasPrefix(line, "-----") {
			forms[fmt.Sprintf("line %d of the private key", i)] = line
		}
	}
	return forms
}

// leaks names the secrets that a text holds.
func leaks(text string, secrets map[string]string) (names []string) {
	for name, secret := range secrets {
		if strings.Contains(text, secret) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A fence is a lab's network that tells of every address outside the lab.
type fence struct {
	probes.Network
	t *testing.T
}

func (f fence) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !inLab(address) {
		f.t.Errorf("something dialed %s, which is outside the lab", address)
	}
	return f.Network.DialContext(ctx, network, address)
}

func (f fence) Translate(addr netip.AddrPort) (netip.AddrPort, bool) {
	if !inLab(addr.String()) {
		f.t.Errorf("something asked for the way to %v, which is outside the lab", addr)
	}
	return f.Network.(probes.Translator).Translate(addr)
}

// inLab reports whether an address is one of the lab's, as callers know them.
func inLab(address string) bool {
	switch address {
	case "169.254.169.254:80", "169.254.170.2:80", "169.254.170.23:80", "sts." + lab.Region + ".amazonaws.com:443":
		return true
	}
	addr, err := netip.ParseAddrPort(address)
	return err == nil && (netip.MustParsePrefix("127.77.0.0/16").Contains(addr.Addr()) || addr.Addr() == lab.PublicAddress())
}

// plantedTargets are the lab's, and two that send secrets of every kind.
func plantedTargets(t *testing.T, l *lab.Lab) *config.Loaded {
	t.Helper()
	_, rest, _ := strings.Cut(many(t, l, "billing", 1), "billing-0\n")
	text := l.Config() + "  - name: tokens\n" + rest +
		"    headers: [{name: X-Partner, secret: {env: " + headerVariable + "}}, {name: Authorization, secret: {file: " + filepath.Join(filepath.Dir(l.System().Hosts), "bearer") + "}}]\n"
	loaded, err := config.Load(config.Options{Path: write(t, t.TempDir(), "lab.yaml", text), Kinds: kindNames(), Findings: findingIDs()})
	must(t, err)
	return loaded
}

// outputs is everything that the agent says of targets that it walks, by where
// it says so.
func outputs(ctx context.Context, targets []*probes.Target, sys probes.System) (map[string]string, error) {
	var log journal
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	a, err := newAgent(&config.Config{Targets: targets}, sys, logger)
	if err != nil {
		return nil, err
	}
	var plain, colored bytes.Buffer
	reports := []*report.Report{report.New(&plain, report.Style{ASCII: true}), report.New(&colored, report.Style{Width: 100, Color: true})}
	rounds, err := a.Check(ctx, nil, func(s agent.Step) {
		for _, r := range reports {
			r.Step(s)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, r := range reports {
		if err := r.Finish(rounds); err != nil {
			return nil, err
		}
	}
	document, err := json.Marshal(a.Document(rounds))
	if err != nil {
		return nil, err
	}
	said := map[string]string{"report": plain.String(), "report in color": colored.String(), "document": string(document)}
	m := metrics.New(all.Kinds, metrics.Options{Stats: a.Stats, Native: true})
	var lines bytes.Buffer
	emf := export.NewEMF(&lines, export.EMFOptions{})
	for _, round := range rounds {
		update := agent.Update{Round: &round, Fresh: slices.Collect(round.Evidence.All())}
		m.Record(update)
		emf.Record(update)
		said["values "+round.Evidence.Target.Name] = fmt.Sprintf("%+v %v", round, round.Evidence)
		serveAll(said, a, m, round)
	}
	over, end := context.WithCancel(ctx)
	end()
	emf.Run(over)
	if lines.Len() == 0 {
		return nil, errors.New("there are no lines of the embedded metric format")
	}
	said["emf"], said["log"] = lines.String(), log.String()
	return said, nil
}

// serveAll adds what the endpoints say of a round.
func serveAll(said map[string]string, a *agent.Agent, m *metrics.Metrics, round agent.Round) {
	name := round.Evidence.Target.Name
	one := func(string) (agent.Round, bool) { return round, true }
	mux := status.New(shown{a, round}, status.Options{
		Metrics: m.Handler(), Probe: metrics.Blackbox(all.Kinds, one),
		Reload: func() error { return errors.New("bad") }, ConfigError: func() error { return errors.New("bad") },
	})
	paths := []string{"/", "/metrics", "/api/v1/status", "/api/v1/status?brief", "/readyz?require=" + name, "/healthz", "/probe?target=" + name}
	for _, k := range all.Kinds {
		paths = append(paths, "/probe?target="+name+"&module="+k.Name)
	}
	for _, path := range paths {
		for _, accept := range []string{"", "application/openmetrics-text; version=1.0.0"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Accept", accept)
			mux.ServeHTTP(w, r)
			said[path+" "+accept] = fmt.Sprint(w.Header(), w.Body)
		}
	}
}

// shown is an agent of which one round is known.
type shown struct {
	*agent.Agent
	round agent.Round
}

func (s shown) Status() []agent.Round               { return []agent.Round{s.round} }
func (s shown) StatusOf(string) (agent.Round, bool) { return s.round, true }
func (s shown) Health(context.Context) error        { return nil }

// No secret shows anywhere, whatever is broken, also where a denial echoes the
// bearer token or the canonical request that it was sent; and nothing leaves
// the lab.
func TestNoSecretShows(t *testing.T) {
	t.Setenv(headerVariable, headerToken)
	forbidDefaults(t)
	scenarios := make(chan lab.Scenario)
	var wg sync.WaitGroup
	for range 2 * labs {
		l := startLab(t)
		sys := l.System()
		sys.Network = fence{sys.Network, t}
		targets := plantedTargets(t, l).Targets
		wg.Go(func() {
			for s := range scenarios {
				watchSecrets(t, l, sys, targets, s)
			}
		})
	}
	for _, s := range slices.Concat(lab.Scenarios(), echoing()) {
		scenarios <- s
	}
	close(scenarios)
	wg.Wait()
}

// echoing are denials that echo what was sent: before 2025 API Gateway did so
// without hashing it. The target sends every token that there is.
func echoing() []lab.Scenario {
	at := func(path string) func(*probes.Target) { return func(t *probes.Target) { t.Path = path } }
	all := []lab.Scenario{
		{ID: "healthy", Target: "tokens"},
		{ID: "bearer-echoed-hashed", Target: "tokens", Edit: at("/health")},
		{ID: "bearer-echoed", Target: "tokens", Edit: at("/health"), Break: lab.OldMessages},
	}
	for _, s := range lab.Scenarios() {
		if s.Layer != "invoke" || !s.Tour {
			continue
		}
		breaking := s.Break
		s.ID += ", in the old words"
		s.Break = lab.OldMessages
		if breaking != nil {
			s.Break = lab.Faults(breaking, lab.OldMessages)
		}
		all = append(all, s)
	}
	return all
}

// watchSecrets breaks a lab and greps all that the agent then says.
func watchSecrets(t *testing.T, l *lab.Lab, sys probes.System, targets []*probes.Target, s lab.Scenario) {
	defer l.Heal()
	edited := targetOf(targets, s).Clone()
	if s.Edit != nil {
		s.Edit(edited)
	}
	if s.Break != nil {
		l.Break(s.Break)
	}
	secrets := planted(l)
	said, err := outputs(t.Context(), []*probes.Target{edited}, sys)
	if err != nil {
		t.Errorf("%s: %v", s.ID, err)
		return
	}
	for where, text := range said {
		if names := leaks(text, secrets); len(names) > 0 {
			t.Errorf("%s: %s shows %v:\n%.2000s", s.ID, where, names, text)
		}
	}
}

// With credentials from each source, the signed request works, all that was
// fetched was fetched through the network, and nothing of it shows: while they
// are good, refused, missing, and while the source is silent.
func TestNoCredentialShows(t *testing.T) {
	t.Setenv(headerVariable, headerToken)
	forbidDefaults(t)
	for _, source := range []string{lab.SourceIMDS, lab.SourceECS, lab.SourceEKS, lab.SourceWebIdentity} {
		t.Run(source, func(t *testing.T) {
			l := startLab(t)
			for _, v := range l.Environment(source) {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, value)
			}
			sys := l.System()
			network := &counting{Network: fence{sys.Network, t}}
			sys.Network = network
			targets := plantedTargets(t, l).Targets
			said, err := outputs(t.Context(), []*probes.Target{targets[0]}, sys)
			must(t, err)
			if !strings.Contains(said["document"], `"verdict":"reachable"`) {
				t.Errorf("with credentials from %s it does not work: %s", source, said["report"])
			}
			fetched := slices.ContainsFunc(network.dials, func(a string) bool {
				return strings.HasPrefix(a, "169.254.") || strings.HasPrefix(a, "127.77.0.44:") || strings.HasPrefix(a, "sts.")
			})
			if !fetched {
				t.Errorf("the credentials did not come through the network: %v", network.dials)
			}
			sys.Network = fence{l.System().Network, t}
			for _, fault := range []lab.Fault{nil, lab.SecretWrong, lab.AccessKeyUnknown, lab.CredentialsExpired, lab.NoCredentials, lab.ClockBehind} {
				watchSecrets(t, l, sys, targets, lab.Scenario{ID: source, Target: "orders", Break: fault})
			}
		})
	}
}

// The search itself can fail: what the lab echoes holds the secret.
func TestTheLabEchoesSecrets(t *testing.T) {
	l := startLab(t)
	l.Break(lab.OldMessages)
	conn, err := l.System().Network.DialContext(t.Context(), "tcp", netip.AddrPortFrom(lab.ENIs()[0], l.Port()).String())
	must(t, err)
	defer conn.Close()
	host := lab.API + ".execute-api." + lab.Region + ".amazonaws.com"
	secured := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	fmt.Fprintf(secured, "GET /%s/health HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", lab.Stage, host, lab.BearerToken)
	answer, err := io.ReadAll(secured)
	must(t, err)
	if !slices.Contains(leaks(string(answer), planted(l)), "the bearer token") {
		t.Errorf("the lab does not echo the token:\n%s", answer)
	}
}

// What the command line prints of files and saved answers holds none of their
// secrets.
func TestNoSecretIsPrinted(t *testing.T) {
	t.Setenv(headerVariable, headerToken)
	l := startLab(t)
	dir := filepath.Dir(l.System().Hosts)
	secrets := planted(l)
	var printed bytes.Buffer
	must(t, plantedTargets(t, l).Print(&printed, true))
	if names := leaks(printed.String(), secrets); len(names) > 0 || !strings.Contains(printed.String(), headerVariable) {
		t.Errorf("config print shows %v:\n%s", names, &printed)
	}
	saved := write(t, t.TempDir(), "curl.txt", fmt.Sprintf(savedDenial, lab.APIKey, lab.BearerToken, lab.SessionToken, lab.BearerToken))
	key := filepath.Join(dir, "client.key")
	for _, args := range [][]string{
		{"explain", "--response", saved},
		{"explain", "--response", saved, "-o", "json"},
		{"explain", "--response", key},
		{"explain", "--response", filepath.Join(dir, "bearer")},
		{"cert", "--certificate", filepath.Join(dir, "client.pem"), "--key", key, "--truststore", filepath.Join(dir, "truststore.pem")},
		{"cert", "--certificate", filepath.Join(dir, "client.pem"), "--key", key, "-o", "json"},
		{"cert", "--certificate", key},
		{"cert", "--certificate", filepath.Join(dir, "client.pem"), "--key", filepath.Join(dir, "api-key")},
		{"config", "validate", "-c", key},
		{"config", "print", "-c", filepath.Join(dir, "bearer")},
		{"check", "-c", filepath.Join(dir, "api-key")},
	} {
		code, text := command(t, args...)
		if names := leaks(text, secrets); len(names) > 0 {
			t.Errorf("%v (%d) shows %v:\n%s", args, code, names, text)
		}
		if text == "" {
			t.Errorf("%v says nothing", args)
		}
	}
}

// savedDenial is what curl -v shows of a request with secrets, and of a denial
// that echoes one.
const savedDenial = `> GET /prod/health HTTP/1.1
> Host: a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com
> X-Api-Key: %s
> Authorization: Bearer %s
> X-Amz-Security-Token: %s
>
< HTTP/1.1 403 Forbidden
< Content-Type: application/json
< x-amzn-RequestId: 0f0f0f0f-1111-2222-3333-444444444444
< x-amzn-ErrorType: IncompleteSignatureException
<
{"message":"Authorization header requires 'Credential' parameter. Authorization=Bearer %s"}
`

// forbidDefaults makes the doors that bypass probes.Network fail the test:
// the default HTTP client, the default resolver, and a proxy of the
// environment.
func forbidDefaults(t *testing.T) {
	transport, resolver := http.DefaultTransport, net.DefaultResolver
	t.Cleanup(func() { http.DefaultTransport, net.DefaultResolver = transport, resolver })
	http.DefaultTransport = forbidden{t}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		t.Errorf("the default resolver was asked, at %s", address)
		return nil, errors.New("forbidden")
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a proxy was asked for %s", r.RequestURI)
	}))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
}

type forbidden struct{ t *testing.T }

func (f forbidden) RoundTrip(r *http.Request) (*http.Response, error) {
	f.t.Errorf("the default HTTP client was used for %s", r.URL)
	return nil, errors.New("forbidden")
}

// dialers are the places that may reach a network by themselves, and why.
var dialers = map[string]string{
	"probes/probes.go":         "the network of the machine",
	"probes/socket_linux.go":   "connects that network's sockets again",
	"health.go":                "asks the agent on this machine",
	"agent/service/service.go": "tells the service manager",
	"probes/trace":             "has sockets of its own, and asks the Network's Translator where they may lead",
}

// Nothing that probes reaches the network but through probes.Network: no other
// file of the agent names what dials or resolves. (The exporters dial the
// collector that the configuration names.)
func TestOnlyTheNetworkDials(t *testing.T) {
	forbidden := map[string][]string{
		"net": {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer", "LookupHost", "LookupIP", "LookupAddr", "LookupCNAME",
			"ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr", "DefaultResolver", "Resolver"},
		"http": {"Get", "Head", "Post", "PostForm", "DefaultClient", "DefaultTransport"},
		"tls":  {"Dial", "DialWithDialer", "Dialer"},
		"unix": {"Connect", "Sendto", "Sendmsg", "SYS_CONNECT", "SYS_SENDTO", "SYS_SENDMSG"},
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"lab", "bench", "_scratch", "export", "testdata"}, d.Name())) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := s.X.(*ast.Ident); ok && slices.Contains(forbidden[pkg.Name], s.Sel.Name) {
				place := path
				if dialers[path] == "" {
					place = filepath.Dir(path)
				}
				seen[place] = true
				if dialers[place] == "" {
					t.Errorf("%s uses %s.%s", path, pkg.Name, s.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	must(t, err)
	for path := range dialers {
		if !seen[path] {
			t.Errorf("%s does not dial: this test looks in the wrong place, or the list is too long", path)
		}
	}
}

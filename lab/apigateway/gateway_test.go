package apigateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the model's time in tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// The names that tests call.
const (
	privateHost  = PrivateAPI + ".execute-api." + Region + ".amazonaws.com"
	regionalHost = RegionalAPI + ".execute-api." + Region + ".amazonaws.com"
	httpHost     = HTTPAPI + ".execute-api." + Region + ".amazonaws.com"
	aliasHost    = PrivateAPI + "-" + EndpointID + ".execute-api." + Region + ".amazonaws.com"
	vpceHost     = EndpointID + "-abcdefgh.execute-api." + Region + ".vpce.amazonaws.com"
)

// throughEndpoint is a connection from the VPC, whose SNI is the given name.
func throughEndpoint(sni string) *Conn {
	return &Conn{ServerName: sni, EndpointID: EndpointID, VPC: VPC, SourceIP: "10.0.1.77"}
}

// fromInternet is a connection from outside.
func fromInternet(sni string) *Conn { return &Conn{ServerName: sni, SourceIP: "203.0.113.7"} }

// A sent is a request of a test. The zero value is GET /prod/health of the
// private API, through the endpoint.
type sent struct {
	method string // GET
	host   string // the private API's
	path   string // /prod/health
	header map[string]string
	body   string
	conn   *Conn  // through the endpoint, SNI as Host
	signed string // an access key id of Healthy; "" sends it unsigned
	skew   time.Duration
	scope  [2]string               // region and service, if not the right ones
	tamper func(*http.Request)     // after signing
	before func(*http.Request)     // before signing
	creds  func(*aws.Credentials)  // before signing
	signer func(*v4.SignerOptions) //
}

func (s sent) request(t testing.TB) *http.Request {
	t.Helper()
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	host := or(s.host, privateHost)
	r, err := http.NewRequest(or(s.method, "GET"), "https://"+host+or(s.path, "/prod/health"), strings.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	if s.before != nil {
		s.before(r)
	}
	if s.signed != "" {
		s.sign(t, r, or(s.scope[1], "execute-api"), or(s.scope[0], Region))
	}
	if s.tamper != nil {
		s.tamper(r)
	}
	conn := s.conn
	if conn == nil {
		conn = throughEndpoint(host)
	}
	return r.WithContext(WithConn(context.Background(), *conn))
}

// sign uses AWS's own signer, which shares nothing with the verifier.
func (s sent) sign(t testing.TB, r *http.Request, service, region string) {
	t.Helper()
	p, ok := Healthy().Principals[s.signed]
	if !ok {
		p = &Principal{SecretAccessKey: "unknown"}
	}
	creds := aws.Credentials{AccessKeyID: s.signed, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
	if s.creds != nil {
		s.creds(&creds)
	}
	hash := sha256.Sum256([]byte(s.body))
	var options []func(*v4.SignerOptions)
	if s.signer != nil {
		options = append(options, s.signer)
	}
	err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), service, region, noon.Add(s.skew), options...)
	if err != nil {
		t.Fatal(err)
	}
}

// A got is an answer as a client sees it.
type got struct {
	status int
	header http.Header // canonical names
	body   string
}

func send(t testing.TB, g *Gateway, s sent) got {
	t.Helper()
	return do(g, s.request(t))
}

func do(g *Gateway, r *http.Request) got {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	header := http.Header{}
	for name, values := range w.Header() {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return got{w.Code, header, w.Body.String()}
}

// model returns a gateway at noon, changed as the test says.
func model(change func(*State)) *Gateway {
	s := Healthy()
	s.Now = at(noon)
	if change != nil {
		change(s)
	}
	return New(s)
}

// redeploy changes the private API's definition and deploys it.
func redeploy(change func(*Definition)) func(*State) {
	return func(s *State) {
		change(&s.APIs[PrivateAPI].Definition)
		s.APIs[PrivateAPI].Deploy()
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	bearer := map[string]string{"Authorization": "Bearer " + BearerToken}
	for _, tt := range []struct {
		name string
		sent sent
	}{
		{"private DNS name", sent{}},
		{"alias", sent{host: aliasHost}},
		{"endpoint's own name with x-apigw-api-id", sent{host: vpceHost, header: map[string]string{"x-apigw-api-id": PrivateAPI}}},
		{"endpoint's SNI, API's Host", sent{conn: throughEndpoint(vpceHost)}},
		{"x-apigw-api-id wins over any Host and SNI", sent{host: "nlb.example", header: map[string]string{"x-apigw-api-id": PrivateAPI}}},
		{"Host with port and other case", sent{host: strings.ToUpper(PrivateAPI) + ".Execute-API." + Region + ".amazonaws.com:443"}},
		{"private custom domain", sent{host: PrivateDomain, path: "/health"}},
		{"public custom domain", sent{host: PublicDomain, path: "/health", conn: fromInternet(PublicDomain)}},
		{"regional API", sent{host: regionalHost, conn: fromInternet(regionalHost)}},
		{"HTTP API", sent{host: httpHost, conn: fromInternet(httpHost)}},
		{"signed by a user", sent{path: "/prod/signed", signed: AccessKeyID}},
		{"signed by a role", sent{path: "/prod/signed", signed: RoleAccessKeyID}},
		{"signed, endpoint's own name", sent{
			host: vpceHost, path: "/prod/signed", signed: RoleAccessKeyID,
			header: map[string]string{"x-apigw-api-id": PrivateAPI},
		}},
		{"signature where none is needed", sent{signed: AccessKeyID}},
		{"bearer token where none is needed", sent{header: bearer}},
		{"Lambda authorizer", sent{path: "/prod/guarded", header: bearer}},
		{"Cognito", sent{path: "/prod/pool", header: bearer}},
		{"API key", sent{path: "/prod/keyed", header: map[string]string{"x-api-key": APIKey}}},
		{"path parameter", sent{path: "/prod/orders/17"}},
		{"query", sent{path: "/prod/health?a=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := model(nil)
			a := send(t, g, tt.sent)
			if a.status != 200 || a.body != `{"status":"ok"}` || a.header.Get("X-Amzn-Errortype") != "" {
				t.Errorf("got %d %s %v", a.status, a.body, a.header)
			}
			if r := g.Requests()[0]; r.Row != "" || r.Status != 200 {
				t.Errorf("remembered %+v", r)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	a := send(t, model(nil), sent{method: "PUT", path: "/prod/files/a/b%20c?x=1", body: "hi", header: map[string]string{"x-api-key": APIKey, "X-Tenant": "blue"}})
	want := `{"body":"hi","host":"` + privateHost + `","httpMethod":"PUT",` +
		`"multiValueHeaders":{"X-Api-Key":["[sent]"],"X-Tenant":["blue"]},` +
		`"path":"/files/a/b%20c","query":{"x":["1"]},"sourceIp":"10.0.1.77","stage":"prod"}`
	if a.status != 200 || a.body != want {
		t.Errorf("got  %d %s\nwant %s", a.status, a.body, want)
	}
}

func TestMostSpecificTemplateWins(t *testing.T) {
	t.Parallel()
	answers := func(body string) map[string]*Method {
		return map[string]*Method{"GET": {Integration: Integration{Body: body}}}
	}
	g := model(redeploy(func(d *Definition) {
		d.Resources = map[string]map[string]*Method{
			"/":                    answers("root"),
			"/{proxy+}":            answers("greedy"),
			"/orders":              answers("orders"),
			"/orders/{id}":         answers("parameter"),
			"/orders/latest":       answers("literal"),
			"/orders/{id}/lines":   answers("lines"),
			"/orders/{id}/{rest+}": answers("greedy order"),
		}
		d.Resources["/orders"]["ANY"] = &Method{Integration: Integration{Body: "any"}}
	}))
	for path, want := range map[string]string{
		"/prod": "root", "/prod/": "root", "/prod/x": "greedy", "/prod/x/y": "greedy",
		"/prod/orders": "orders", "/prod/orders/17": "parameter", "/prod/orders/latest": "literal",
		"/prod/orders/l%61test": "literal", "/prod/orders/17/lines": "lines", "/prod/orders/17/x/y": "greedy order",
	} {
		if a := send(t, g, sent{path: path}); a.body != want {
			t.Errorf("%s: got %q, want %q", path, a.body, want)
		}
	}
}

func TestUpdateChangesLiveModelOnly(t *testing.T) {
	t.Parallel()
	initial := Healthy()
	g := New(initial)
	initial.APIs[PrivateAPI].DefaultEndpointDisabled = true
	if a := send(t, g, sent{}); a.status != 200 {
		t.Errorf("a change of New's argument showed: %d", a.status)
	}
	var kept *State
	g.Update(func(s *State) { kept = s; s.APIs[PrivateAPI].DefaultEndpointDisabled = true })
	kept.APIs[PrivateAPI].DefaultEndpointDisabled = false
	if a := send(t, g, sent{}); a.status != 403 {
		t.Errorf("Update did not show, or a state kept from it did: %d", a.status)
	}
}

func TestUpdateBesideRequests(t *testing.T) {
	t.Parallel()
	g := model(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			g.Update(func(s *State) { s.APIs[PrivateAPI].DefaultEndpointDisabled = i%2 == 0 })
		}
	}()
	for range 200 {
		if a := send(t, g, sent{}); a.status != 200 && a.status != 403 {
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
	<-done
	if n := g.Received(); n != 200 {
		t.Errorf("received %d", n)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	g := New(&State{})
	for i := range maxRequests + 10 {
		r := httptest.NewRequest("GET", "https://x.example/"+strings.Repeat("a", i%7), nil)
		r.Header.Set("User-Agent", strings.Repeat("u", i))
		do(g, r)
	}
	requests := g.Requests()
	if len(requests) != maxRequests || g.Received() != maxRequests+10 {
		t.Fatalf("remembered %d of %d", len(requests), g.Received())
	}
	for i, r := range requests {
		if len(r.UserAgent) != i+10 {
			t.Fatalf("request %d is out of order: user agent of %d bytes", i, len(r.UserAgent))
		}
	}
}

func TestRequestHoldsNoSecret(t *testing.T) {
	t.Parallel()
	g := model(nil)
	send(t, g, sent{path: "/prod/signed?q=1", signed: RoleAccessKeyID, header: map[string]string{"User-Agent": "test/1", "x-api-key": APIKey}})
	want := Request{
		At: noon, Method: "GET", Target: "/prod/signed?q=1", Host: privateHost, UserAgent: "test/1", ServerName: privateHost,
		EndpointID: EndpointID, SignedBy: RoleAccessKeyID, APIKey: true, API: PrivateAPI, Stage: StageName, Status: 200,
	}
	r := g.Requests()[0]
	if r.ID == "" {
		t.Error("no request id")
	}
	r.ID = ""
	if r != want {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	g.Update(func(s *State) { s.APIs = nil })
	send(t, g, sent{path: "/prod/health?X-Amz-Signature=abc&X-Amz-Security-Token=def"})
	if got := g.Requests()[1].Target; got != "/prod/health?[presigned]" {
		t.Errorf("remembered %q", got)
	}
}

func TestMisconfiguredModelIsNoAnswer(t *testing.T) {
	t.Parallel()
	broken := map[string]func(*State){
		"resource policy": redeploy(func(d *Definition) { d.Policy = `{"Statement":` }),
		"endpoint policy": func(s *State) { s.Endpoints[EndpointID].Policy = `[]` },
		"resource control policy without principals": func(s *State) { s.ResourceControl = &Guardrail{Policy: allowAll} },
	}
	for name, change := range broken {
		a := send(t, model(change), sent{})
		if a.status != 599 || !strings.HasPrefix(a.body, "apigateway model: ") {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
}

// TestOnTheWire asks a real server, byte by byte: case of header names, exact
// lengths, and no body after HEAD.
func TestOnTheWire(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) { s.APIs[PrivateAPI].DefaultEndpointDisabled = true })
	server := httptest.NewUnstartedServer(g)
	inner := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r.WithContext(WithConn(r.Context(), *throughEndpoint(privateHost))))
	})
	server.Start()
	defer server.Close()
	for _, method := range []string{"GET", "HEAD"} {
		raw := exchange(t, server.Listener.Addr().String(),
			method+" /prod/health HTTP/1.1\r\nHost: "+privateHost+"\r\nConnection: close\r\n\r\n")
		head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		lines := map[string]string{}
		for line := range strings.SplitSeq(string(head), "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			lines[name] = value
		}
		for name, want := range map[string]string{
			"HTTP/1.1 403 Forbidden": "", "Content-Length": "23", "Content-Type": "application/json", "Server": "Server",
			"x-amzn-ErrorType": "ForbiddenException", "Date": "Wed, 04 Mar 2026 12:00:00 GMT",
		} {
			if got, ok := lines[name]; !ok || got != want {
				t.Errorf("%s: header %q is %q, want %q", method, name, got, want)
			}
		}
		if len(lines["x-amzn-RequestId"]) != 36 || len(lines["x-amz-apigw-id"]) != 16 || len(lines) != 9 {
			t.Errorf("%s: headers %q", method, lines)
		}
		want := `{"message":"Forbidden"}`
		if method == "HEAD" {
			want = ""
		}
		if string(body) != want {
			t.Errorf("%s: body %q, want %q", method, body, want)
		}
	}
}

func exchange(t *testing.T, address, request string) []byte {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSlowIntegration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := model(method("/health", func(m *Method) { m.Integration = Integration{Behavior: TimesOut, Delay: 29 * time.Second} }))
		start := time.Now()
		a := send(t, g, sent{})
		if took := time.Since(start); a.status != 504 || took != 29*time.Second {
			t.Errorf("got %d after %v", a.status, took)
		}
		ctx, cancel := context.WithTimeout(WithConn(t.Context(), *throughEndpoint(privateHost)), 3*time.Second)
		defer cancel()
		start = time.Now()
		do(g, sent{}.request(t).WithContext(ctx))
		if took := time.Since(start); took != 3*time.Second || g.Received() != 1 {
			t.Errorf("a client that left after 3s was served for %v, received %d", took, g.Received())
		}
	})
}

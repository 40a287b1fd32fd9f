package apigateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const suiteToken = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

// A vector is a case of AWS's SigV4 test suite: host example.amazonaws.com, at
// 2015-08-30T12:36:00Z, for us-east-1 and a service called service.
type vector struct {
	name, method, target string
	header               http.Header
	body                 string
	signed               string
	signature            string
}

func suite() []vector {
	one := func(values ...string) http.Header { return http.Header{"My-Header1": values} }
	const plain, my = "host;x-amz-date", "host;my-header1;x-amz-date"
	const vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	const unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return []vector{
		{"get-vanilla", "GET", "/", nil, "", plain, vanilla},
		{"get-relative", "GET", "/example/..", nil, "", plain, vanilla},
		{"get-relative-relative", "GET", "/example1/example2/../..", nil, "", plain, vanilla},
		{"get-slash", "GET", "//", nil, "", plain, vanilla},
		{"get-slash-dot-slash", "GET", "/./", nil, "", plain, vanilla},
		{"get-slash-pointless-dot", "GET", "/./example", nil, "", plain, "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{"get-slashes", "GET", "//example//", nil, "", plain, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{"get-space", "GET", "/example space/", nil, "", plain, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
		{"get-unreserved", "GET", "/" + unreserved, nil, "", plain, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"get-utf8", "GET", "/ሴ", nil, "", plain, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{"get-vanilla-empty-query-key", "GET", "/?Param1=value1", nil, "", plain, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-vanilla-query-order-encoded", "GET", "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", nil, "", plain, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		{"get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", nil, "", plain, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-unreserved", "GET", "/?" + unreserved + "=" + unreserved, nil, "", plain, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"get-vanilla-utf8-query", "GET", "/?ሴ=bar", nil, "", plain, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"get-header-key-duplicate", "GET", "/", one("value2", "value2", "value1"), "", my, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-order", "GET", "/", one("value4", "value1", "value3", "value2"), "", my, "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{"get-header-value-trim", "GET", "/", http.Header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}}, "", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"post-vanilla", "POST", "/", nil, "", plain, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-vanilla-query", "POST", "/?Param1=value1", nil, "", plain, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{"post-header-key-sort", "POST", "/", one("value1"), "", my, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"post-header-value-case", "POST", "/", one("VALUE1"), "", my, "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
		{"post-sts-header-before", "POST", "/", http.Header{"X-Amz-Security-Token": {suiteToken}}, "", "host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
		{"post-x-www-form-urlencoded", "POST", "/", http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Length": {"13"},
			"X-Amz-Content-Sha256": {"9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"},
		}, "Param1=value1", "content-length;content-type;host;x-amz-content-sha256;x-amz-date", "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
	}
}

// verifier reads a request as the suite's service would.
func (v vector) verifier() *verifier {
	r := httptest.NewRequest(v.method, "http://example.amazonaws.com/", nil)
	r.RequestURI, r.Header = v.target, v.header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	_, r.URL.RawQuery, _ = strings.Cut(v.target, "?")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+
		v.signed+", Signature="+v.signature)
	s := &State{Region: "us-east-1", Principals: map[string]*Principal{"AKIDEXAMPLE": {
		SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", SessionToken: r.Header.Get("X-Amz-Security-Token"),
	}}}
	return &verifier{state: s, service: "service", now: time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC), r: r, body: []byte(v.body)}
}

func TestSuiteOfAWS(t *testing.T) {
	t.Parallel()
	for _, v := range suite() {
		if p, a := v.verifier().verify(); p == nil || a != nil {
			t.Errorf("%s: refused: %+v", v.name, a)
		}
		for i := range v.signature {
			wrong := []byte(v.signature)
			wrong[i] ^= 1
			w := v
			w.signature = string(wrong)
			if p, a := w.verifier().verify(); p != nil || a == nil || a.message != mismatchMessage {
				t.Errorf("%s: byte %d of the signature does not matter: %+v", v.name, i, a)
			}
		}
	}
}

// TestListUsers is the worked example of the AWS General Reference, with each
// of its intermediate results.
func TestListUsers(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	canonical := canonicalRequest(r, []string{"content-type", "host", "x-amz-date"}, nil, false)
	want := "GET\n/\nAction=ListUsers&Version=2010-05-08\ncontent-type:application/x-www-form-urlencoded; charset=utf-8\n" +
		"host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\n" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if canonical != want {
		t.Errorf("canonical request\n%s\nwant\n%s", canonical, want)
	}
	scope := []string{"20150830", "us-east-1", "iam", "aws4_request"}
	toSign := stringToSign(canonical, "20150830T123600Z", scope)
	want = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n" +
		"f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
	if toSign != want {
		t.Errorf("string to sign\n%s\nwant\n%s", toSign, want)
	}
	if got := signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope, toSign); got != "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7" {
		t.Errorf("signature %s", got)
	}
}

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"": "/", "/": "/", "/a/": "/a/", "/a/.": "/a/", "/a/b/..": "/a/", "/a/..": "/", "/../../a": "/a",
		"/prod/a%20b": "/prod/a%2520b", "/prod/a%2Fb": "/prod/a%252Fb", "/$default/a:b@c": "/%24default/a%3Ab%40c",
	} {
		if got := canonicalPath(sent); got != want {
			t.Errorf("%q: got %q, want %q", sent, got, want)
		}
	}
}

func TestCanonicalQuery(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"": "", "b&a": "a=&b=", "a=2&a=1&A=3": "A=3&a=1&a=2", "a=%7E%2f+x": "a=~%2F%20x", "a=b=c&&": "a=b%3Dc", "a=%zz": "a=%25zz",
		"a=1&aa=1&a%21=1": "a=1&a%21=1&aa=1", "X-Amz-Signature=x": "X-Amz-Signature=x",
	} {
		if got := canonicalQuery(sent, false); got != want {
			t.Errorf("%q: got %q, want %q", sent, got, want)
		}
	}
	if got := canonicalQuery("X-Amz-Signature=x&b=1", true); got != "b=1" {
		t.Errorf("presigned: got %q", got)
	}
}

// TestAgainstTheSignerOfAWS verifies many requests at random that the SDK of
// AWS signed, in both forms, and refuses each after one change.
func TestAgainstTheSignerOfAWS(t *testing.T) {
	t.Parallel()
	g := model(nil)
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		for _, presigned := range []bool{false, true} {
			r, body := randomRequest(t, random, presigned)
			v := verifierFor(g, r, body)
			if p, a := v.verify(); p == nil {
				t.Fatalf("seed %d, presigned %v: %s %s refused: %+v\n%v", seed, presigned, r.Method, r.URL, a, r.Header)
			}
			what := spoil(random, r, &body)
			if p, a := verifierFor(g, r, body).verify(); p != nil || a == nil || a.row != "D3" {
				t.Fatalf("seed %d, presigned %v: %s %s accepted after a change of %s: %+v", seed, presigned, r.Method, r.URL, what, a)
			}
		}
	}
}

func verifierFor(g *Gateway, r *http.Request, body []byte) *verifier {
	return &verifier{state: g.state.Load(), service: "execute-api", now: noon, r: r, body: body}
}

// randomRequest is signed by either principal, at most five minutes off.
func randomRequest(t *testing.T, random *rand.Rand, presigned bool) (*http.Request, []byte) {
	t.Helper()
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	text := func() string {
		return pick("a", "b", "Z", "0", "~", "-", "%20", "%2F", "%25", "%C3%BC", "%E1%88%B4", "$", ":", "@", "x.y", "a%2Bb")
	}
	target := "https://" + privateHost + "/prod"
	for range random.IntN(4) {
		target += "/" + text() + text()
	}
	separator := "?"
	for range random.IntN(5) {
		target += separator + text() + "=" + text() + text()
		separator = "&"
	}
	body := []byte(strings.Repeat("body", random.IntN(5)))
	r, err := http.NewRequest(pick("GET", "POST", "DELETE"), target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for range random.IntN(3) {
		r.Header.Add("X-"+pick("One", "Two", "Three"), pick("v", " a  b ", "ü", `"q   r"`))
	}
	keyID := pick(AccessKeyID, RoleAccessKeyID)
	p := Healthy().Principals[keyID]
	creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
	sum := sha256.Sum256(body)
	when := noon.Add(time.Duration(random.IntN(601)-300) * time.Second)
	if !presigned {
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(sum[:]), "execute-api", Region, when); err != nil {
			t.Fatal(err)
		}
		return r, body
	}
	uri, header, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, hex.EncodeToString(sum[:]), "execute-api", Region, when)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := http.NewRequest(r.Method, uri, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		signed.Header[http.CanonicalHeaderKey(name)] = values
	}
	return signed, body
}

// spoil changes one thing that the signature covers, and says what.
func spoil(random *rand.Rand, r *http.Request, body *[]byte) string {
	switch random.IntN(5) {
	case 0:
		r.Method = "PATCH"
		return "the method"
	case 1:
		r.URL.Path, r.URL.RawPath = r.URL.Path+"x", ""
		return "the path"
	case 2:
		r.URL.RawQuery += "&zz=1"
		return "the query"
	case 3:
		r.Host = "x" + r.Host
		return "the host"
	}
	*body = append(*body, 'x')
	return "the body"
}

func TestCurlIsVerified(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl on this machine: ", err)
	}
	if help, _ := exec.Command(curl, "--help", "all").Output(); !bytes.Contains(help, []byte("--aws-sigv4")) {
		t.Skip("this curl does not know --aws-sigv4")
	}
	g := New(Healthy()) // by the real clock, as curl's is
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.ServeHTTP(w, r.WithContext(WithConn(context.Background(), *throughEndpoint(privateHost))))
	}))
	defer server.Close()
	run := func(secret string, more ...string) string {
		args := append([]string{
			"-q", "-sS", "--noproxy", "*", "--aws-sigv4", "aws:amz:" + Region + ":execute-api", "--user", AccessKeyID + ":" + secret,
			"-H", "Host: " + privateHost, "-w", "\n%{http_code}",
		}, more...)
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const ok = "{\"status\":\"ok\"}\n200"
	for name, more := range map[string][]string{
		"GET":   {server.URL + "/prod/signed"},
		"query": {server.URL + "/prod/signed?a=1&b=x"},
		"POST":  {"--data", "name=value", server.URL + "/prod/signed"},
	} {
		if got := run(SecretAccessKey, more...); got != ok {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got, want := run("wrong", server.URL+"/prod/signed"), `{"message":"`+mismatchMessage+"\"}\n403"; got != want {
		t.Errorf("wrong secret: got %s, want %s", got, want)
	}
}

// replace changes the Authorization header.
func replace(old, new string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
	}
}

// TestEachComponentMatters changes one component of a good signature at a time
// and expects the message about exactly this one.
func TestEachComponentMatters(t *testing.T) {
	t.Parallel()
	const incomplete, invalid = "IncompleteSignatureException", "InvalidSignatureException"
	const mismatch = mismatchMessage
	const credential = AccessKeyID + "/20260304/eu-west-1/execute-api/aws4_request"
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tt := range []struct {
		name      string
		tamper    func(*http.Request)
		errorType string
		message   string
	}{
		{"method", func(r *http.Request) { r.Method = "POST" }, invalid, mismatch},
		{"path", func(r *http.Request) { r.URL.Path = "/prod/signed/x"; r.URL.RawPath = "" }, invalid, mismatch},
		{"query", func(r *http.Request) { r.URL.RawQuery = "q=2" }, invalid, mismatch},
		{"Host", func(r *http.Request) { r.Host += ":443" }, invalid, mismatch},
		{"signed header", set("X-Tenant", "red"), invalid, mismatch},
		{"signed header gone", func(r *http.Request) { r.Header.Del("X-Tenant") }, invalid, mismatch},
		{"body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) }, invalid, mismatch},
		{"date within the window", set("X-Amz-Date", "20260304T120001Z"), invalid, mismatch},
		{"list of signed headers", replace("host;x-amz-date", "host;user-agent;x-amz-date"), invalid, mismatch},
		{"signature in upper case", func(r *http.Request) {
			head, tail, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", head+"Signature="+strings.ToUpper(tail))
		}, invalid, mismatch},
		{"host is not signed", replace("host;", ""), invalid, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"algorithm", replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), incomplete, "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'."},
		{"SigV4a", replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), incomplete, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		{"credential of four parts", replace("/aws4_request", ""), incomplete,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + AccessKeyID + "/20260304/eu-west-1/execute-api'"},
		{"key", replace(AccessKeyID, "AKIANOBODY"), "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"another's key", replace(AccessKeyID, RoleAccessKeyID), invalid, mismatch},
		{"region", replace("eu-west-1", "eu-west-2"), invalid, "Credential should be scoped to a valid region. "},
		{"service", replace("execute-api", "iam"), invalid, "Credential should be scoped to correct service: 'execute-api'. "},
		{"terminator", replace("aws4_request", "aws5_request"), invalid, "Credential should be scoped with a valid terminator: 'aws4_request'. "},
		{"date of the scope", replace("/20260304/", "/20260303/"), invalid,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260303' != '20260304', from '20260304T120000Z'. "},
		{"whole scope", replace(credential, AccessKeyID+"/20260303/eu-west-2/iam/x"), invalid,
			"Credential should be scoped to a valid region. Credential should be scoped to correct service: 'execute-api'. " +
				"Credential should be scoped with a valid terminator: 'aws4_request'. " +
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260303' != '20260304', from '20260304T120000Z'. "},
		{"format of the date", set("X-Amz-Date", "2026-03-04T12:00:00Z"), incomplete, "Date must be in ISO-8601 'basic format'. Got '2026-03-04T12:00:00Z'."},
		{"date behind the window", set("X-Amz-Date", "20260304T115459Z"), invalid,
			"Signature expired: 20260304T115459Z is now earlier than 20260304T115500Z (20260304T120000Z - 5 min.)"},
		{"date ahead of the window", set("X-Amz-Date", "20260304T120501Z"), invalid,
			"Signature not yet current: 20260304T120501Z is still later than 20260304T120500Z (20260304T120000Z + 5 min.)"},
		{"token added", set("X-Amz-Security-Token", "x"), "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"no Credential", replace("Credential="+credential+", ", ""), incomplete, ""},
		{"signed twice", func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }, invalid,
			"Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := sent{path: "/prod/signed?q=1", signed: AccessKeyID, header: map[string]string{"X-Tenant": "blue"}, tamper: tt.tamper}
			r := s.request(t)
			if tt.message == "" {
				tt.message = "Authorization header requires 'Credential' parameter." +
					" (Hashed with SHA-256 and encoded with Base64) Authorization=" + hash64(r.Header.Get("Authorization"))
			}
			c := newCall(model(nil).state.Load(), *throughEndpoint(privateHost), r)
			p, a := c.identity()
			if p != nil || a == nil {
				t.Fatal("accepted")
			}
			if a.message != tt.message || a.errorType != tt.errorType || a.status != 403 {
				t.Errorf("got  %s: %s\nwant %s: %s", a.errorType, a.message, tt.errorType, tt.message)
			}
		})
	}
}

// TestQueryForm does the same for presigned URLs.
func TestQueryForm(t *testing.T) {
	t.Parallel()
	const invalid = "InvalidSignatureException"
	for _, tt := range []struct {
		name      string
		old, new  string // in the query
		expires   string
		now       time.Time
		errorType string
		message   string
	}{
		{name: "good", now: noon},
		{name: "within an hour", expires: "3600", now: noon.Add(time.Hour)},
		{name: "after an hour", expires: "3600", now: noon.Add(time.Hour + time.Second), errorType: invalid,
			message: "Signature expired: 20260304T120000Z is now earlier than 20260304T120001Z (20260304T130001Z - 60 min.)"},
		{name: "after 90 seconds", expires: "90", now: noon.Add(91 * time.Second), errorType: invalid,
			message: "Signature expired: 20260304T120000Z is now earlier than 20260304T120001Z (20260304T120131Z - 90 sec.)"},
		{name: "a week is the most", expires: "9999999", now: noon.Add(7*24*time.Hour + time.Second), errorType: invalid,
			message: "Signature expired: 20260304T120000Z is now earlier than 20260304T120001Z (20260311T120001Z - 10080 min.)"},
		{name: "signature", old: "X-Amz-Signature=", new: "X-Amz-Signature=0", now: noon, errorType: invalid, message: mismatchMessage},
		{name: "parameters", old: "X-Amz-SignedHeaders", new: "X-Signed", now: noon, errorType: "IncompleteSignatureException",
			message: "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."},
		{name: "token", old: "X-Amz-Security-Token=", new: "X-Amz-Security-Token=x", now: noon, errorType: invalid, message: mismatchMessage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := Healthy().Principals[RoleAccessKeyID]
			creds := aws.Credentials{AccessKeyID: RoleAccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
			target := "https://" + privateHost + "/prod/signed"
			if tt.expires != "" {
				target += "?X-Amz-Expires=" + tt.expires
			}
			r := httptest.NewRequest("GET", target, nil)
			empty := sha256.Sum256(nil)
			uri, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, hex.EncodeToString(empty[:]), "execute-api", Region, noon)
			if err != nil {
				t.Fatal(err)
			}
			r = httptest.NewRequest("GET", strings.Replace(uri, tt.old, tt.new, 1), nil)
			v := &verifier{state: Healthy(), service: "execute-api", now: tt.now, r: r}
			who, a := v.verify()
			switch {
			case tt.message == "" && who == nil:
				t.Errorf("refused: %+v", a)
			case tt.message != "" && (a == nil || a.message != tt.message || a.errorType != tt.errorType):
				t.Errorf("got %+v, want %s: %s", a, tt.errorType, tt.message)
			}
		})
	}
}

// TestDateHeaderServes: without X-Amz-Date the Date header counts.
func TestDateHeaderServes(t *testing.T) {
	t.Parallel()
	for date, want := range map[string]string{
		"Wed, 04 Mar 2026 11:54:59 GMT": "D1", "20260304T115459Z": "D1", "yesterday": "4", "": "C1", "Wed, 04 Mar 2026 12:00:00 GMT": "D3",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Date", date)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+AccessKeyID+"/20260304/eu-west-1/execute-api/aws4_request,SignedHeaders=host,Signature=0")
		if _, a := verifierFor(model(nil), r, nil).verify(); a == nil || a.row != want {
			t.Errorf("%q: got %+v, want row %s", date, a, want)
		}
	}
}

func TestCanonicalRequestIsEchoed(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) { s.EchoCanonicalRequest = true })
	a := send(t, g, sent{path: "/prod/signed?b=1&a=2", signed: AccessKeyID, tamper: replace("Signature=", "Signature=0")})
	canonical := "GET\n/prod/signed\na=2&b=1\nhost:" + privateHost + "\nx-amz-date:20260304T120000Z\n\nhost;x-amz-date\n" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	sum := sha256.Sum256([]byte(canonical))
	want := mismatchMessage + "\n\nThe Canonical String for this request should have been\n'" + canonical +
		"'\n\nThe String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20260304T120000Z\n20260304/eu-west-1/execute-api/aws4_request\n" +
		hex.EncodeToString(sum[:]) + "'\n"
	if a.body != `{"message":`+fmt.Sprintf("%q", want)+`}` {
		t.Errorf("got %s", a.body)
	}
}

// FuzzAuthorization: nothing in the header alone ever makes a caller known.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{
		"", "allow", "Bearer tok", "Basic dXNlcjpwYXNz=", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=",
		"AWS4-HMAC-SHA256 Credential=" + AccessKeyID + "/20260304/eu-west-1/execute-api/aws4_request,SignedHeaders=host;x-amz-date,Signature=00",
		"AWS4-HMAC-SHA256 ,,= =,", "AWS4-HMAC-SHA256  Credential=////, SignedHeaders=;;;host, Signature=é",
	} {
		f.Add(seed, "20260304T120000Z")
	}
	state := Healthy()
	f.Fuzz(func(t *testing.T, authorization, date string) {
		r := httptest.NewRequest("GET", "/prod/signed", nil)
		r.Header["Authorization"] = []string{authorization}
		r.Header["X-Amz-Date"] = []string{date}
		p, a := (&verifier{state: state, service: "execute-api", now: noon, r: r}).verify()
		if p != nil || a == nil {
			t.Fatalf("%q made %v known", authorization, p)
		}
		if a.status != 403 || a.message == "" || a.row == "" {
			t.Fatalf("%q: an answer that says nothing: %+v", authorization, a)
		}
	})
}

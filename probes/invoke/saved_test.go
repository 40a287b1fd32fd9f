package invoke

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpcprobe/probes"
)

// summary is what is read of a saved answer, in a line.
func summary(a Answer) string {
	t, o := Saved(a)
	return fmt.Sprintf("%s %s%s %s via %q at %v: %d %s %s %q %s stage %q, signed %v, key %v, cert %v, %v",
		a.Method, a.Host, a.Path, a.Protocol, o.Via, o.Addr, a.Status, a.ErrorType, a.Who, a.Message, a.RequestID, t.Stage, a.Signed != nil, a.KeySent, a.CertAsked, a.Causes)
}

func TestParseSaved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file string
		want []string
	}{
		{"curl-v-1.1.txt", []string{`GET a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/prod/health HTTP/1.1 via "private-dns" at 10.0.1.17:443: 403 IncompleteSignatureException rest-api ` +
			`"'[redacted]' not a valid key=value pair (missing equal-sign) in Authorization header: '[redacted]'." 5f9c1d2e-1111-4222-8333-944444444444 stage "prod", signed false, key true, cert false, ` +
			`[authorization-malformed path-not-found method-not-found not-redeployed]`}},
		{"curl-v-2.txt", []string{`GET api.example.com/status HTTP/2 via "domain" at 198.51.100.7:443: 403 ForbiddenException rest-api "Forbidden" 5f9c1d2e-1111-4222-8333-955555555555 ` +
			`stage "", signed false, key false, cert true, [api-key-rejected waf-blocked host-not-recognized client-cert-distrusted base-path-unmapped]`}},
		{"curl-i.txt", []string{`HTTP/1.1 via "" at invalid AddrPort: 403 MissingAuthenticationTokenException rest-api "Missing Authentication Token" 5f9c1d2e-1111-4222-8333-966666666666 ` +
			`stage "", signed false, key false, cert true, [request-unsigned path-not-found method-not-found not-redeployed stage-in-path]`}},
		{"har.json", []string{
			`GET a1b2c3d4e5-vpce-0a1b2c3d4e5f67890.execute-api.eu-west-1.amazonaws.com/prod/health HTTP/1.1 via "alias" at 10.0.1.17:443: 403 InvalidSignatureException rest-api ` +
				`"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method." 5f9c1d2e-1111-4222-8333-977777777777 ` +
				`stage "prod", signed true, key false, cert true, [signature-mismatch]`,
			`POST api.example.com/orders h2 via "domain" at invalid AddrPort: 429 LimitExceededException rest-api "Limit Exceeded" 1 stage "", signed false, key false, cert true, [quota-exceeded]`,
		}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			answers, err := ParseSaved(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range answers {
				got = append(got, strings.TrimSpace(summary(a)))
				b, err := json.Marshal(a)
				if shown := fmt.Sprintf("%s %v %v", b, err, a); strings.Contains(shown, "planted") || strings.Contains(shown, "AKIAIOSFODNN7EXAMPLE") {
					t.Errorf("a secret surfaces in %s", shown)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// Windows line ends, a byte order mark, both options at once, several
// requests, a body without a final line break before curl's last word.
func TestParseSavedForms(t *testing.T) {
	t.Parallel()
	both := "> GET /a/b HTTP/1.1\n> Host: api.example.com:8443\n> \n< HTTP/1.1 401 Unauthorized\n< x-amzn-requestid: 1\n< x-amzn-errortype: UnauthorizedException\n< \n" +
		"HTTP/1.1 401 Unauthorized\nx-amzn-requestid: 1\nx-amzn-errortype: UnauthorizedException\n\n{\"message\":\"Unauthorized\"}* Connection #0 to host x left intact\n"
	for name, tt := range map[string]struct {
		text string
		want string
	}{
		"both":          {both, "401 UnauthorizedException Unauthorized api.example.com"},
		"Windows":       {"\ufeff" + strings.ReplaceAll(both, "\n", "\r\n"), "401 UnauthorizedException Unauthorized api.example.com"},
		"two requests":  {both + strings.ReplaceAll(both, "401", "403"), "401 UnauthorizedException Unauthorized api.example.com|403 UnauthorizedException Unauthorized api.example.com"},
		"a redirect":    {"HTTP/1.1 301 Moved\nLocation: /x\n\nHTTP/2 403 \nx-amzn-errortype: ForbiddenException\n\n{\"message\":\"Forbidden\"}", "403 ForbiddenException Forbidden "},
		"CONNECT first": {"> CONNECT api.example.com:443 HTTP/1.1\n> Host: api.example.com:443\n> \n< HTTP/1.1 200 Connection established\n< \n" + both, "401 UnauthorizedException Unauthorized api.example.com"},
		"several lines": {"HTTP/1.1 403 X\nx-amzn-errortype: ForbiddenException\n\n{\n \"message\": \"Forbidden\"\n}\n", "403 ForbiddenException Forbidden "},
	} {
		answers, err := ParseSaved(strings.NewReader(tt.text))
		var got []string
		for _, a := range answers {
			got = append(got, fmt.Sprintf("%d %s %s %s", a.Status, a.ErrorType, a.Message, a.Host))
		}
		if s := strings.Join(got, "|"); s != tt.want || err != nil {
			t.Errorf("%s: %q (%v), want %q", name, s, err, tt.want)
		}
	}
	for _, text := range []string{"", "{", "{}", "not curl", "> GET / HTTP/1.1\n> Host: x\n", `{"log":{"entries":[]}}`} {
		if answers, err := ParseSaved(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v", text, answers)
		}
	}
	if _, err := ParseSaved(strings.NewReader(strings.Repeat("x", maxSaved+1))); err == nil {
		t.Error("a file without bounds is accepted")
	}
}

func FuzzParseSaved(f *testing.F) {
	for _, file := range []string{"curl-v-1.1.txt", "curl-v-2.txt", "curl-i.txt", "har.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		answers, err := ParseSaved(bytes.NewReader(text))
		if (err == nil) != (len(answers) > 0) || len(answers) > maxAnswers {
			t.Fatalf("%d answers, %v", len(answers), err)
		}
		for _, a := range answers {
			target, o := Saved(a)
			if Of(o) == nil || target == nil {
				t.Fatal("no evidence")
			}
			probes.Diagnose(Rules, probes.Evidence{Target: target}.With("invoke", []probes.Observation{o}))
			if strings.ContainsAny(a.String(), "\x1b\n\r") {
				t.Fatalf("%q moves the cursor", a.String())
			}
		}
	})
}

// The classifier keeps what rules rely on, whatever a server says: one cause
// at least for a denial it knows, each of them one that there is a rule for.
func FuzzMatch(f *testing.F) {
	f.Add(403, "AccessDeniedException", "User: anonymous is not authorized to perform: execute-api:Invoke on resource: arn:x", "domain", "rest-api")
	f.Add(403, "ForbiddenException", "Forbidden", "endpoint", "rest-api")
	f.Add(403, "", "Forbidden", "private-dns", "http-api")
	f.Add(500, "InternalServerErrorException", "Internal server error", "alias", "rest-api")
	f.Add(403, "InvalidSignatureException", "Signature expired: x", "", "rest-api")
	f.Add(202, "", "", "domain", "unknown")
	f.Fuzz(func(t *testing.T, status int, errorType, text, via, who string) {
		a := &Answer{Status: status, ErrorType: errorType, Message: text, Who: Who(who)}
		d := match(a)
		d.enter(a, situation{&probes.Target{Stage: "prod", Settings: &probes.Settings{}}, probes.Via(via), netip.Addr{}, a})
		if d == nil {
			if a.Causes != nil || a.Family != "" {
				t.Fatalf("causes %v of nothing", a.Causes)
			}
			return
		}
		if len(a.Causes) == 0 || a.Certainty == probes.No {
			t.Fatalf("row %s leaves %v, %v", d.id, a.Causes, a.Certainty)
		}
		if len(a.Causes) > 1 && a.Certainty != probes.Possible {
			t.Fatalf("%v is %v", a.Causes, a.Certainty)
		}
	})
}

package invoke

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"vpcprobe/probes"
)

// service is what signatures are scoped to.
const service = "execute-api"

// A call is a request made ready to send.
type call struct {
	request *http.Request
	body    string
	secrets []string // whatever must not come back as evidence
	forms   []string // these, as JSON and URLs write them, too
	fetch   time.Duration
	expires time.Time // of the credentials; zero if they do not

	credentials aws.Credentials
	signedAt    time.Time
	region      string
}

// known returns the secrets that the request carries, in the forms in which an
// answer may repeat them.
func (k *call) known() []string {
	if k.forms == nil {
		k.forms = forms(k.secrets)
	}
	return k.forms
}

// forms adds to secrets how JSON and URLs write them.
func forms(secrets []string) []string {
	all := make([]string, 0, 4*len(secrets))
	for _, s := range secrets {
		quoted, _ := json.Marshal(s) // a string can always be encoded
		for _, form := range []string{s, strings.Trim(string(quoted), `"`), strings.ReplaceAll(s, "/", `\/`), url.QueryEscape(s), url.PathEscape(s)} {
			if !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	return all
}

// build makes the request and signs it. The call that it returns is never nil.
func (c *Client) build(ctx context.Context, lane probes.Lane, r Request, a *Answer) (*call, error) {
	k := &call{region: c.target.Region}
	if err := c.compose(k, lane, r); err != nil {
		return k, err
	}
	a.Method, a.Host, a.Path = k.request.Method, k.request.Host, k.request.URL.EscapedPath()
	a.apiNamed = k.request.Header.Get("X-Apigw-Api-Id") != ""
	a.KeySent = k.request.Header.Get("X-Api-Key") != ""
	a.token = hasToken(k.request.Header)
	if !c.target.Sign || r.Unsigned {
		return k, nil
	}
	start := time.Now()
	creds, err := c.credentials.Get(ctx, c.target.Profile, c.target.Region, c.timeout)
	k.fetch = time.Since(start)
	if err != nil {
		a.Failed = credentialsFault(err)
		return k, a.Failed
	}
	k.secrets = append(k.secrets, creds.SecretAccessKey, creds.SessionToken, creds.AccessKeyID)
	if creds.CanExpire {
		k.expires = creds.Expires
	}
	k.credentials, k.signedAt = creds, time.Now()
	if err := k.sign(ctx, k.request); err != nil {
		return k, fmt.Errorf("signing: %w", err)
	}
	a.Signed = &Signature{
		Host:  k.request.Host,
		Scope: k.signedAt.UTC().Format("20060102") + "/" + c.target.Region + "/" + service + "/aws4_request",
		KeyID: ending(creds.AccessKeyID),
	}
	return k, nil
}

// sign adds the signature's headers. It signs request.Host, and it may sort
// the query: what is signed is what must be sent. A signer that is kept would go on
// with a secret that has been corrected, as it tells them apart by access keys.
func (k *call) sign(ctx context.Context, request *http.Request, options ...func(*v4.SignerOptions)) error {
	sum := sha256.Sum256([]byte(k.body))
	return v4.NewSigner().SignHTTP(ctx, k.credentials, request, hex.EncodeToString(sum[:]), service, k.region, k.signedAt, options...)
}

func ending(id string) string { return id[max(0, len(id)-4):] }

// compose makes the request, unsigned.
func (c *Client) compose(k *call, lane probes.Lane, r Request) error {
	t := c.target
	target := c.path
	if r.Path != "" {
		target = r.Path
	}
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	u.Scheme, u.Host = "https", lane.ServerName
	k.request = &http.Request{Method: t.Method, URL: u, Host: lane.ServerName, Header: http.Header{"User-Agent": {c.agent}}}
	if r.Method != "" {
		k.request.Method = r.Method
	}
	if lane.Via == probes.ViaEndpoint && !r.NoAPIID {
		k.request.Header.Set("X-Apigw-Api-Id", t.API)
	}
	if err := c.addHeaders(k, lane, r); err != nil {
		return err
	}
	if !r.Bare && !r.NoBody {
		k.body = t.Body
	}
	if r.Host != "" {
		k.request.Host = r.Host
	}
	if k.body != "" {
		k.request.ContentLength = int64(len(k.body))
	}
	return c.addKey(k, r)
}

// hasToken reports whether a header may hold what an authorizer looks at.
func hasToken(h http.Header) bool {
	for name, values := range h {
		mine := name == "X-Api-Key" || name == "X-Amz-Security-Token" || strings.HasPrefix(strings.Join(values, ""), "AWS4-")
		if probes.NamesSecret(name) && !mine {
			return true
		}
	}
	return false
}

// routes reports whether a header may decide which API a request comes to: one
// that names the API, and by a domain, whose routing rules go by headers of any
// name, all but those that hold secrets.
func routes(h probes.Header, lane probes.Lane) bool {
	name := canonical(h.Name)
	return name == "Host" || name == "X-Apigw-Api-Id" ||
		lane.Via == probes.ViaDomain && !h.Secret.Given() && !probes.NamesSecret(h.Name)
}

// addHeaders adds the configured headers; to a bare request only those that
// may decide which API it comes to.
func (c *Client) addHeaders(k *call, lane probes.Lane, r Request) error {
	for _, h := range c.target.Headers {
		if r.Bare && !routes(h, lane) {
			continue
		}
		value := h.Value
		if h.Secret.Given() {
			var err error
			if value, err = h.Secret.Read(); err != nil {
				return &SecretFault{"header " + h.Name, err}
			}
			k.secrets = append(k.secrets, value)
		}
		if probes.NamesSecret(h.Name) {
			k.secrets = append(k.secrets, value, afterSpace(value))
		}
		switch canonical(h.Name) {
		case "Host":
			k.request.Host = value
			continue
		case "Authorization":
			if r.Unsigned {
				continue
			}
		}
		if !validValue(value) {
			return &SecretFault{"header " + h.Name, errControl}
		}
		if name := canonical(h.Name); name == "User-Agent" && c.marked {
			value += " " + c.agent
		}
		k.request.Header.Set(h.Name, value) // what is configured wins
	}
	return nil
}

// addKey adds the API key.
func (c *Client) addKey(k *call, r Request) error {
	switch {
	case r.NoAPIKey:
		k.request.Header.Del("X-Api-Key")
		return nil
	case r.APIKey != "":
		k.request.Header.Set("X-Api-Key", r.APIKey)
		return nil
	case !c.target.APIKey.Given():
		return nil
	}
	key, err := c.target.APIKey.Read()
	if err == nil && !validValue(key) {
		err = errControl
	}
	if err != nil {
		return &SecretFault{"the API key", err}
	}
	k.secrets = append(k.secrets, key)
	k.request.Header.Set("X-Api-Key", key)
	return nil
}

// A SecretFault says that a configured secret could not be read.
type SecretFault struct {
	What string
	Err  error
}

func (f *SecretFault) Error() string { return f.What + ": " + f.Err.Error() }
func (f *SecretFault) Unwrap() error { return f.Err }

var errControl = fmt.Errorf("it holds a control character, which no header may")

func validValue(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

func afterSpace(v string) string { _, after, _ := strings.Cut(v, " "); return after }

// cleanPath removes what the AWS signer does not: empty and dot segments, over
// which its signature and the gateway's disagree (measured against botocore
// and npm aws4). Escapes, a final slash and the query stay as they are.
func cleanPath(target string) (string, error) {
	p, query, asked := strings.Cut(target, "?")
	clean := path.Clean("/" + p)
	if clean != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		clean += "/"
	}
	if asked {
		clean += "?" + query
	}
	if _, err := url.Parse(clean); err != nil {
		return "", fmt.Errorf("path: %w", err)
	}
	if strings.ContainsFunc(clean, func(r rune) bool { return r < ' ' || r == 0x7f || r == '#' }) {
		return "", fmt.Errorf("path: %q holds a character that no path may", target)
	}
	return clean, nil
}

// bytes is the request as HTTP/1.1, its headers in a fixed order.
func (k *call) bytes() []byte {
	var b bytes.Buffer
	r := k.request
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		target += "?" + strings.ReplaceAll(r.URL.RawQuery, " ", "%20")
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range r.Header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	if k.body != "" || slices.Contains([]string{"POST", "PUT", "PATCH"}, r.Method) {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(k.body))
	}
	b.WriteString("Connection: close\r\n\r\n")
	b.WriteString(k.body)
	return b.Bytes()
}

// forHTTP2 is the request as x/net/http2 takes it.
func (k *call) forHTTP2(ctx context.Context) *http.Request {
	r := k.request.Clone(ctx)
	if k.body != "" {
		r.Body = io.NopCloser(strings.NewReader(k.body))
		r.ContentLength = int64(len(k.body))
	}
	return r
}

func isSecretFault(err error) bool { _, ok := errors.AsType[*SecretFault](err); return ok }

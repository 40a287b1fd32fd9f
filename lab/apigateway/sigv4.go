package apigateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sigV4     = "AWS4-HMAC-SHA256"
	basicTime = "20060102T150405Z" // ISO 8601, basic format
	window    = 5 * time.Minute    // IAM User Guide, reference_sigv
)

// hasAuthorization reports whether there is an Authorization header, empty or
// not.
func (c *call) hasAuthorization() bool { return len(c.r.Header["Authorization"]) > 0 }

// identity is who signed the request: nil for an anonymous one, an answer for
// a signature that does not hold. It is computed once.
func (c *call) identity() (*Principal, *answer) {
	if c.identified {
		return c.principal, c.signature
	}
	c.identified = true
	v := &verifier{state: c.state, service: "execute-api", now: c.now, r: c.r, body: c.body}
	c.principal, c.signature = v.verify()
	if c.principal != nil {
		c.signedBy = v.keyID
	}
	return c.principal, c.signature
}

// A verifier checks one request's SigV4 signature, written from AWS's
// specification (IAM User Guide, create-signed-request). The order of the
// checks, and the texts, are those of AWS's service framework as FACTS.md 4
// lists them; texts that it does not tie to execute-api have row "4".
// SigV4a is refused as an algorithm that is not supported.
type verifier struct {
	state   *State
	service string
	now     time.Time
	r       *http.Request
	body    []byte

	query     bool              // signed in the query string
	params    map[string]string // Credential, SignedHeaders, Signature
	algorithm string
	date      string // as given; in basic format once checked
	at        time.Time
	token     string
	keyID     string
	scope     []string // date, region, service, terminator
	signed    []string // names of the signed headers
}

func (v *verifier) verify() (*Principal, *answer) {
	query := v.r.URL.Query()
	header, inHeader := v.r.Header["Authorization"]
	v.query = query.Has("X-Amz-Algorithm")
	switch {
	case v.query && inHeader:
		return nil, v.refuse("4", errSignature, "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
	case v.query:
		v.readQuery(query)
	case inHeader:
		if a := v.readHeader(header[0]); a != nil {
			return nil, a
		}
	default:
		return nil, nil
	}
	checks := []func() *answer{v.complete, v.readDate, v.fresh, v.signsHost, v.knownAlgorithm, v.readCredential, v.scoped}
	if a := first(checks...); a != nil {
		return nil, a
	}
	return v.prove()
}

func (v *verifier) refuse(row, errorType, message string) *answer {
	return &answer{
		row: row, status: http.StatusForbidden, errorType: errorType, response: InvalidSignature, message: message,
	}
}

func (v *verifier) readQuery(q url.Values) {
	v.algorithm, v.date, v.token = q.Get("X-Amz-Algorithm"), q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token")
	v.params = map[string]string{}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		v.params[name] = q.Get("X-Amz-" + name)
	}
}

// readHeader takes the Authorization header apart: a word, then key=value
// pairs separated by commas or spaces.
func (v *verifier) readHeader(value string) *answer {
	if value == "" {
		return v.refuse("C1", errIncomplete, "Authorization header cannot be empty")
	}
	algorithm, params, bad := parseAuthorization(value)
	if bad != "" {
		return v.refuse("C1", errIncomplete, v.notKeyValue(bad, value))
	}
	v.algorithm, v.params = algorithm, params
	v.date = v.r.Header.Get("X-Amz-Date")
	if v.date == "" {
		v.date = v.r.Header.Get("Date")
	}
	v.token = v.r.Header.Get("X-Amz-Security-Token")
	return nil
}

// parseAuthorization returns the pair without an equal sign as bad, if there
// is one.
func parseAuthorization(value string) (algorithm string, params map[string]string, bad string) {
	algorithm, rest, _ := strings.Cut(value, " ")
	params = map[string]string{}
	for _, pair := range strings.FieldsFunc(rest, func(r rune) bool { return r == ',' || r == ' ' }) {
		key, val, ok := strings.Cut(pair, "=")
		if !ok {
			return algorithm, nil, pair
		}
		params[key] = val
	}
	return algorithm, params, ""
}

func (v *verifier) notKeyValue(pair, header string) string {
	if v.state.OldMessages {
		return "'" + pair + "' not a valid key=value pair (missing equal-sign) in Authorization header: '" + header + "'."
	}
	// What exactly is hashed is UNVERIFIED; the message speaks of the header.
	return "Invalid key=value pair (missing equal-sign) in Authorization header" +
		" (hashed with SHA-256 and encoded with Base64): '" + hash64(header) + "'."
}

func hash64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// complete names everything that is missing in one message.
func (v *verifier) complete() *answer {
	if v.query {
		return v.completeQuery()
	}
	var b strings.Builder
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if v.params[name] == "" {
			b.WriteString("Authorization header requires '" + name + "' parameter. ")
		}
	}
	if v.date == "" {
		b.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if b.Len() == 0 {
		return nil
	}
	header := v.r.Header.Get("Authorization")
	if v.state.OldMessages {
		b.WriteString("Authorization=" + header)
	} else { // seen in public transcripts; what is hashed is UNVERIFIED
		b.WriteString("(Hashed with SHA-256 and encoded with Base64) Authorization=" + hash64(header))
	}
	return v.refuse("C1", errIncomplete, b.String())
}

func (v *verifier) completeQuery() *answer {
	var b strings.Builder
	for _, name := range []string{"Algorithm", "Credential", "Signature", "SignedHeaders", "Date"} {
		if v.r.URL.Query().Get("X-Amz-"+name) == "" {
			b.WriteString("AWS query-string parameters must include 'X-Amz-" + name + "'. ")
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return v.refuse("4", errIncomplete, b.String()+"Re-examine the query-string parameters.")
}

// readDate accepts the basic format, and HTTP's own in a Date header.
func (v *verifier) readDate() *answer {
	at, err := time.Parse(basicTime, v.date)
	if err != nil && !v.query && v.r.Header.Get("X-Amz-Date") == "" {
		at, err = http.ParseTime(v.date)
	}
	if err != nil {
		return v.refuse("4", errIncomplete, "Date must be in ISO-8601 'basic format'. Got '"+v.date+"'.")
	}
	v.at, v.date = at.UTC(), at.UTC().Format(basicTime)
	return nil
}

// fresh answers D1 and D2. A presigned URL is good for X-Amz-Expires seconds
// instead; the text for that case is UNVERIFIED.
func (v *verifier) fresh() *answer {
	now := v.now.UTC().Truncate(time.Second)
	lasts := window
	if seconds, err := strconv.Atoi(v.r.URL.Query().Get("X-Amz-Expires")); v.query && err == nil {
		lasts = time.Duration(min(max(seconds, 1), 604800)) * time.Second
	}
	switch oldest, newest := now.Add(-lasts), now.Add(window); {
	case v.at.Before(oldest):
		return v.refuse("D1", errSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s)",
			v.date, oldest.Format(basicTime), now.Format(basicTime), inWords(lasts)))
	case v.at.After(newest):
		return v.refuse("D2", errSignature, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s)",
			v.date, newest.Format(basicTime), now.Format(basicTime), inWords(window)))
	}
	return nil
}

func inWords(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " min."
	}
	return strconv.Itoa(int(d/time.Second)) + " sec."
}

func (v *verifier) signsHost() *answer {
	v.signed = strings.Split(v.params["SignedHeaders"], ";")
	if slices.Contains(v.signed, "host") || slices.Contains(v.signed, ":authority") {
		return nil
	}
	return v.refuse("4", errSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
}

func (v *verifier) knownAlgorithm() *answer {
	if v.algorithm == sigV4 {
		return nil
	}
	return v.refuse("4", errIncomplete, "Unsupported AWS 'algorithm': '"+v.algorithm+"'.")
}

func (v *verifier) readCredential() *answer {
	parts := strings.Split(v.params["Credential"], "/")
	if len(parts) != 5 {
		return v.refuse("4", errIncomplete, "Credential must have exactly 5 slash-delimited elements,"+
			" e.g. keyid/date/region/service/term, got '"+v.params["Credential"]+"'")
	}
	v.keyID, v.scope = parts[0], parts[1:]
	return nil
}

// scoped answers D4, whose error type is UNVERIFIED. Region and service are
// said in one message, seen with its trailing space.
func (v *verifier) scoped() *answer {
	var b strings.Builder
	if v.scope[1] != v.state.Region {
		b.WriteString("Credential should be scoped to a valid region. ")
	}
	if v.scope[2] != v.service {
		b.WriteString("Credential should be scoped to correct service: '" + v.service + "'. ")
	}
	if v.scope[3] != "aws4_request" {
		b.WriteString("Credential should be scoped with a valid terminator: 'aws4_request'. ")
	}
	if day := v.date[:8]; v.scope[0] != day {
		b.WriteString("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" +
			v.scope[0] + "' != '" + day + "', from '" + v.date + "'. ")
	}
	if b.Len() == 0 {
		return nil
	}
	return v.refuse("D4", errSignature, b.String())
}

// prove checks the key, the signature and the token, in this order.
func (v *verifier) prove() (*Principal, *answer) {
	p, ok := v.state.Principals[v.keyID]
	if !ok {
		return nil, v.invalidToken()
	}
	canonical := canonicalRequest(v.r, v.signed, v.body, v.query)
	toSign := stringToSign(canonical, v.date, v.scope)
	if !hmac.Equal([]byte(signature(p.SecretAccessKey, v.scope, toSign)), []byte(v.params["Signature"])) {
		return nil, v.refuse("D3", errSignature, v.mismatch(canonical, toSign))
	}
	switch {
	case v.token != p.SessionToken:
		return nil, v.invalidToken()
	case p.Expired:
		return nil, &answer{ // A11; the error type is UNVERIFIED
			row: "A11", status: http.StatusForbidden, errorType: errExpiredToken, response: ExpiredToken,
			message: "The security token included in the request is expired",
		}
	}
	return p, nil
}

// invalidToken answers A10. The article names AccessDeniedException, AWS's
// services today UnrecognizedClientException; which of them execute-api sends
// is UNVERIFIED.
func (v *verifier) invalidToken() *answer {
	errorType := errUnknownClient
	if v.state.OldMessages {
		errorType = errAccessDenied
	}
	return &answer{
		row: "A10", status: http.StatusForbidden, errorType: errorType, response: Default4XX,
		message: "The security token included in the request is invalid.",
	}
}

func (v *verifier) mismatch(canonical, toSign string) string {
	message := "The request signature we calculated does not match the signature you provided." +
		" Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	if !v.state.EchoCanonicalRequest {
		return message
	}
	return message + "\n\nThe Canonical String for this request should have been\n'" + canonical +
		"'\n\nThe String-to-Sign should have been\n'" + toSign + "'\n"
}

// canonicalRequest is step 1 of the specification.
func canonicalRequest(r *http.Request, signed []string, body []byte, presigned bool) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(sentPath(r)) + "\n")
	b.WriteString(canonicalQuery(r.URL.RawQuery, presigned) + "\n")
	for _, name := range signed {
		b.WriteString(name + ":" + canonicalHeader(r, name) + "\n")
	}
	payload := sha256.Sum256(body)
	return b.String() + "\n" + strings.Join(signed, ";") + "\n" + hex.EncodeToString(payload[:])
}

// canonicalPath normalizes a path as sent (RFC 3986: dot segments; and no
// empty segments) and encodes it once more: every service but S3 wants it
// encoded twice.
func canonicalPath(sent string) string {
	var kept []string
	segments := strings.Split(sent, "/")
	for _, s := range segments {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, encode(s))
		}
	}
	path := "/" + strings.Join(kept, "/")
	if last := segments[len(segments)-1]; len(kept) > 0 && (last == "" || last == "." || last == "..") {
		path += "/"
	}
	return path
}

// canonicalQuery decodes the pairs, encodes them strictly and sorts them by
// name, then by value. A plus sign is taken for a space.
func canonicalQuery(raw string, presigned bool) string {
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		p := pair{encode(decode(name)), encode(decode(value))}
		if presigned && p.name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if a.name != b.name {
			return strings.Compare(a.name, b.name)
		}
		return strings.Compare(a.value, b.value)
	})
	joined := make([]string, len(pairs))
	for i, p := range pairs {
		joined[i] = p.name + "=" + p.value
	}
	return strings.Join(joined, "&")
}

func decode(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// encode is the specification's UriEncode: everything but A-Z a-z 0-9 - . _ ~.
func encode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// canonicalHeader joins the values of a header, trimmed and with runs of
// spaces made one. net/http keeps Host apart, and drops some lengths.
func canonicalHeader(r *http.Request, name string) string {
	switch {
	case name == "host" || name == ":authority":
		return r.Host
	case name == "content-length" && len(r.Header.Values(name)) == 0:
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := slices.Clone(r.Header.Values(name))
	for i, value := range values {
		values[i] = strings.Join(strings.Fields(value), " ")
	}
	return strings.Join(values, ",")
}

// stringToSign is step 2.
func stringToSign(canonical, date string, scope []string) string {
	sum := sha256.Sum256([]byte(canonical))
	return sigV4 + "\n" + date + "\n" + strings.Join(scope, "/") + "\n" + hex.EncodeToString(sum[:])
}

// signature is steps 3 and 4: the key is derived from the secret and the
// scope's four parts.
func signature(secret string, scope []string, toSign string) string {
	key := []byte("AWS4" + secret)
	for _, part := range scope {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, toSign))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

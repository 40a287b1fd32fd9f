package probes

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// hidden stands where a secret was.
const hidden = "[redacted]"

// secrets are the shapes of secrets that answers of API Gateway and proxies
// are known to echo: bearer tokens and JWTs in IncompleteSignatureException,
// canonical requests with session tokens in InvalidSignatureException, and
// whatever a backend repeats of the request. The groups stay.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(')[^']*('\s+not a valid key=value pair)`),
	regexp.MustCompile(`(?i)(authorization\s*[:=]\s*(?:bearer|basic|aws4-hmac-sha256)?\s*)[^\r\n'"&,;]+`),
	regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{4,}`),
	regexp.MustCompile(`(?i)((?:x-amz-security-token|x-api-key|x-amz-signature|signature|set-cookie|cookie|session[_-]?token|secret[_-]?(?:access[_-]?)?key|password|api[_-]?key)["']?\s*[:=]\s*["']?)[^\s"'&,;]+`),
	regexp.MustCompile(`(://)[^/\s]+(@)`), // of a URL
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,2}`),
	regexp.MustCompile(`(\b(?:AKIA|ASIA))[A-Z0-9]{12,}`),
	regexp.MustCompile(`()-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
}

// secretWords are in the names of headers whose values are secrets.
var secretWords = []string{"authorization", "cookie", "token", "secret", "apikey", "api-key", "passw", "credential", "signature"}

// NamesSecret reports whether the value of a header of that name is a secret,
// wherever it is configured.
func NamesSecret(header string) bool {
	header = strings.ToLower(header)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(header, word) })
}

// Scrub makes foreign text fit to be evidence: the known secrets and whatever
// has the shape of one are hidden, control characters, which could move a
// terminal's cursor, become spaces, and it is cut at limit runes.
func Scrub(text string, limit int, known ...string) string {
	for _, s := range known {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, hidden)
		}
	}
	for _, re := range secrets {
		text = re.ReplaceAllString(text, "${1}"+hidden+"${2}")
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return strings.TrimSpace(text)
}

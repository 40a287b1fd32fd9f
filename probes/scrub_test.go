package probes

import (
	"strings"
	"testing"
)

func TestScrubHidesSecrets(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"bearer token in a denial", `'abc' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer s3cr3t-token'.`,
			`'[redacted]' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer [redacted]'.`},
		{"session token in a canonical request", "host:x\nx-amz-security-token:FwoGZXIvYXdz\n", "host:x x-amz-security-token:[redacted]"},
		{"JWT", `token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln seen`, `token [redacted] seen`},
		{"access key id", `Credential AKIAIOSFODNN7EXAMPLE/2026`, `Credential AKIA[redacted]/2026`},
		{"a known value", `you sent tenant-key-1`, `you sent [redacted]`},
		{"password in a URL", `http://bob:p@ss/w@host:4318/v1@x or ftp://:hunter2@host`, `http://[redacted]@ss/w@host:4318/v1@x or ftp://[redacted]@host`},
		{"a URL without one stays", `https://host/users/me@example.com`, `https://host/users/me@example.com`},
		{"private key", "x -----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY----- y", "x [redacted] y"},
		{"an ordinary denial stays", `User: anonymous is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:eu-west-1:********3333:a1/v1/GET/x`,
			`User: anonymous is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:eu-west-1:********3333:a1/v1/GET/x`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Scrub(tt.text, 1000, "tenant-key-1"); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestScrubCannotMoveTheCursor(t *testing.T) {
	got := Scrub("a\x1b[2Jb\r\nc\u202ed\u009b", 100)
	if strings.ContainsAny(got, "\x1b\r\n\u202e\u009b") {
		t.Errorf("%q holds control characters", got)
	}
}

func TestScrubIsBounded(t *testing.T) {
	if got := []rune(Scrub(strings.Repeat("x", 5000), 100)); len(got) != 101 {
		t.Errorf("%d runes, want 100 and an ellipsis", len(got))
	}
}

package config

import "testing"

func TestSuggest(t *testing.T) {
	valid := []string{"name", "kind", "api", "api_key", "region", "via", "path", "port", "client_certificate", "method"}
	for word, want := range map[string]string{
		"naem": "name", "nme": "name", "Region": "region", "api-key": "api_key", "apikey": "api_key", "api_ID": "api", "apis": "api",
		"prot": "port", "client_cert": "client_certificate", "metod": "method",
		"host": "", "x": "", "": "", "speed": "", "ki": "", "nombre": "",
	} {
		if got := nearest(word, valid); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got, want := Suggest("naem", valid), ` (did you mean "name"?)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "bc", 1}, {"kitten", "sitting", 3}, {"port", "prot", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%s, %s: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("%s, %s: got %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

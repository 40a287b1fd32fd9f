package apigateway

import (
	"crypto/x509"
	"reflect"
	"testing"
)

// TestCloneSharesNothing fills every field of a State, so that a field that is
// added and forgotten by Clone is found.
func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	s := Healthy()
	fill(reflect.ValueOf(s).Elem())
	c := s.Clone()
	s.Now, c.Now = nil, nil // funcs are never equal
	if !reflect.DeepEqual(s, c) {
		t.Fatal("the clone is not equal")
	}
	shared(t, "State", reflect.ValueOf(s).Elem(), reflect.ValueOf(c).Elem())
}

// fill gives every empty pointer, map, slice and func something to hold.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*x509.Certificate]() {
			v.Set(reflect.ValueOf(&x509.Certificate{}))
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.Len() == 0 {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
		}
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			fill(value)
			v.SetMapIndex(key, value)
		}
	}
}

// shared reports memory that both values refer to. Certificates are shared on
// purpose.
func shared(t *testing.T, at string, a, b reflect.Value) {
	t.Helper()
	switch a.Kind() {
	case reflect.Pointer:
		if a.Type() == reflect.TypeFor[*x509.Certificate]() || a.IsNil() {
			return
		}
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
			return
		}
		shared(t, at, a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			shared(t, at+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
		}
		for i := range a.Len() {
			shared(t, at+"[]", a.Index(i), b.Index(i))
		}
	case reflect.Map:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", at)
		}
		for _, key := range a.MapKeys() {
			shared(t, at+"[]", a.MapIndex(key), b.MapIndex(key))
		}
	}
}

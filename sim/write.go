package sim

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// YAML returns the scenario as a file has it: one line for each of its fields that is set.
func (s Scenario) YAML() string {
	var b strings.Builder
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			fmt.Fprintf(&b, "%s: %s\n", v.Type().Field(i).Tag.Get("yaml"), flow(v.Field(i)))
		}
	}
	return b.String()
}

// flow writes a value on one line.
func flow(v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String()
	}
	var parts []string
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				parts = append(parts, v.Type().Field(i).Tag.Get("yaml")+": "+flow(v.Field(i)))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, flow(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}

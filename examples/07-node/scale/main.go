// Command tasker-plugin-scale weighs parcels: the part of the example that is written in Go.
package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

type parcel struct {
	OrderID string `json:"order_id"`
	To      string `json:"to"`
	Items   []item `json:"items"`
}

type item struct {
	Name  string `json:"name"`
	Grams int    `json:"grams"`
}

type weight struct {
	Grams int `json:"grams"`
}

// box is what the cardboard weighs, in grams.
const box = 120

func weigh(ctx context.Context, in parcel) (weight, error) {
	if len(in.Items) == 0 {
		return weight{}, sdk.Permanent(sdk.WithCode(errors.New("there is nothing in the parcel"), "empty"))
	}
	_, span := otel.Tracer("scale").Start(ctx, "sum")
	defer span.End()
	w := weight{Grams: box}
	for _, i := range in.Items {
		w.Grams += i.Grams
	}
	return w, nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "scale", Version: "1.0.0", Handlers: sdk.Handlers{
		"weigh": sdk.Func(weigh, sdk.Options{Description: "Weighs a parcel.", ErrorCodes: []string{"empty"}}),
	}})
}

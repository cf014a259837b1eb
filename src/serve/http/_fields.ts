// What requests are made of: JSON Schemas that check them, and that the description of the server shows.

import { nearest } from "../../nearest.ts";
import { shown } from "../one-line.ts";
import { ApiError, invalid } from "./_errors.ts";

/** The part of JSON Schema (2020-12) that is used here. */
export interface Schema {
  type?: "string" | "number" | "integer" | "boolean" | "object" | "array" | "null";
  description?: string;
  enum?: readonly string[];
  const?: string;
  default?: unknown;
  minLength?: number;
  maxLength?: number;
  /** Its description tells what to give. */
  pattern?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  anyOf?: readonly Schema[];
  items?: Schema;
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  contentMediaType?: string;
  /** Another name is named by `$ref`. */
  $ref?: string;
}

export interface ObjectSchema extends Schema {
  properties: Readonly<Record<string, Schema>>;
}

/**
 * The fields of a request that are known. Fields that are null count as absent; others are left out.
 * @throws ApiError 400 naming the field
 */
export function fieldsOf<Fields>(value: unknown, { properties, required = [] }: ObjectSchema): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ApiError(400, "invalid_json", "the body is no JSON object");
  const given = value as Record<string, unknown>;
  const missing = required.find((name) => !Object.hasOwn(given, name) || given[name] === null);
  if (missing !== undefined) throw invalid(missing, `${missing} is missing`, wanted(properties[missing]));
  const known = Object.entries(properties).filter(
    ([name]) => Object.hasOwn(given, name) && given[name] !== null,
  );
  for (const [name, schema] of known) {
    if (fits(given[name], schema)) continue;
    const guess = typeof given[name] === "string" ? nearest(given[name], schema.enum ?? []) : null;
    const hint = guess === null ? wanted(schema) : `did you mean ${guess}?`;
    throw invalid(name, `${name} is ${shown(given[name])}`, hint);
  }
  return Object.fromEntries(known.map(([name]) => [name, given[name]])) as Fields;
}

/** Whether a value is as its schema says. */
export function fits(value: unknown, schema: Schema): boolean {
  if (schema.anyOf !== undefined) return schema.anyOf.some((one) => fits(value, one));
  if (schema.const !== undefined) return value === schema.const;
  if (schema.enum !== undefined && !schema.enum.includes(value as string)) return false;
  if (schema.type !== undefined && !isOfType(value, schema.type)) return false;
  if (typeof value === "string")
    return (
      isWithin(value.length, schema.minLength, schema.maxLength) &&
      new RegExp(schema.pattern ?? "").test(value)
    );
  if (typeof value === "number")
    return isWithin(value, schema.minimum, schema.maximum) && value > (schema.exclusiveMinimum ?? -Infinity);
  if (Array.isArray(value))
    return schema.items === undefined || value.every((one) => fits(one, schema.items!));
  if (typeof value !== "object" || value === null) return true;
  const { properties = {}, required = [] } = schema;
  const object = value as Record<string, unknown>;
  return (
    required.every((name) => Object.hasOwn(object, name)) &&
    Object.entries(properties).every(([name, one]) => !Object.hasOwn(object, name) || fits(object[name], one))
  );
}

function isOfType(value: unknown, type: NonNullable<Schema["type"]>): boolean {
  if (type === "integer") return Number.isSafeInteger(value);
  if (type === "number") return Number.isFinite(value);
  if (type === "array") return Array.isArray(value);
  if (type === "null") return value === null;
  return typeof value === type && value !== null && !Array.isArray(value);
}

const isWithin = (value: number, least = -Infinity, most = Infinity) => value >= least && value <= most;

/** What a field must be, as a hint. */
function wanted(schema: Schema): string {
  if (schema.enum !== undefined) return `give one of ${schema.enum.join(", ")}`;
  if (schema.anyOf !== undefined)
    return schema.anyOf
      .map((one, i) => (i === 0 ? wanted(one) : wanted(one).slice("give ".length)))
      .join(" or ");
  const { exclusiveMinimum, maximum, maxLength, minimum, minLength, properties } = schema;
  if (schema.type === "string") {
    if (schema.pattern !== undefined) return `give ${schema.description}`;
    const most = maxLength === undefined ? "" : ` of at most ${maxLength} characters`;
    return `give a string${most}${minLength === undefined ? "" : " that is not empty"}`;
  }
  if (schema.type === "boolean") return "give true or false";
  if (schema.type === "object") return `give an object with ${Object.keys(properties ?? {}).join(", ")}`;
  const kind = schema.type === "integer" ? "a whole number" : "a number";
  const least =
    minimum !== undefined
      ? ` from ${minimum}`
      : exclusiveMinimum !== undefined
        ? ` above ${exclusiveMinimum}`
        : "";
  return `give ${kind}${least}${maximum === undefined ? "" : ` up to ${maximum}`}`;
}

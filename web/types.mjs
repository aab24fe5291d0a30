// Makes TypeScript types of the documents that `python -m services.gateway.documents generated` wrote.
import { readFile, writeFile } from "node:fs/promises";
import { compile } from "json-schema-to-typescript";
import openapiTS, { astToString } from "openapi-typescript";

const folder = new URL("./generated/", import.meta.url);
const read = async (name) => JSON.parse(await readFile(new URL(name, folder), "utf8"));
const write = (name, text) => writeFile(new URL(name, folder), text);

const openapi = await read("openapi.json");
await write("api.ts", astToString(await openapiTS(openapi)));
const { pattern } = openapi.components.schemas.Parameters.properties.model;
await write("limits.ts", `export const MODEL_PATTERN = ${JSON.stringify(pattern)};\n`);

const asyncapi = JSON.stringify((await read("asyncapi.json")).components.schemas);
const { definitions } = await read("transcript.json");
const messages = JSON.parse(asyncapi.replaceAll("#/components/schemas/", "#/definitions/"));
const schema = { title: "Everything", type: "object", definitions: { ...messages, ...definitions } };
for (const one of Object.values(schema.definitions)) one.additionalProperties ??= false;
const options = { unreachableDefinitions: true, bannerComment: "", format: false };
await write("messages.ts", await compile(schema, "Everything", options));

const codes = await read("languages.json");
await write("languages.ts", `export const LANGUAGES: readonly string[] = ${JSON.stringify(codes)};\n`);

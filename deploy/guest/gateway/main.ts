import { createGateway } from "./server.ts";

createGateway().listen(8080, "127.0.0.1");

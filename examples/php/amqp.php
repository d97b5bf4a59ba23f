<?php

declare(strict_types=1);

// Copy these two functions. They need PHP 7.4 or later and php-amqplib 3 (Composer: php-amqplib/php-amqplib; Debian: php-amqplib).
// Run as it is, this file shows what they do: php amqp.php [user]. Reads AMQP_URL.

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

foreach ([__DIR__ . '/vendor/autoload.php', '/usr/share/php/PhpAmqpLib/autoload.php'] as $autoload) {
    if (is_file($autoload)) require_once $autoload;
}

/** A channel on which the broker confirms. */
function sidecast_amqp_channel(string $url): AMQPChannel
{
    $at = parse_url(trim($url));
    if (!isset($at['host'])) throw new InvalidArgumentException('The address of the broker must be amqp://user:password@host:port/vhost');
    $part = fn (string $name, string $default) => rawurldecode((string) ($at[$name] ?? $default));
    $connection = new AMQPStreamConnection(
        $part('host', '127.0.0.1'),
        (int) $part('port', '5672'),
        $part('user', 'guest'),
        $part('pass', 'guest'),
        isset($at['path']) && strlen($at['path']) > 1 ? rawurldecode(substr($at['path'], 1)) : '/',
        false, 'AMQPLAIN', null, 'en_US', // The defaults, as far as they come before the timeouts.
        2.0, // to connect
        3.0, // to read and write
    );
    $channel = $connection->channel();
    $channel->confirm_select();
    return $channel;
}

/** Publishes in this order; returns when the broker has stored all of them in a queue. Each: [routing key, data, headers]. */
function sidecast_amqp_publish(AMQPChannel $channel, array $events, string $exchange = 'sidecast'): void
{
    $failed = [];
    $channel->set_nack_handler(function () use (&$failed) { $failed[] = 'the broker could not store it'; });
    $channel->set_return_listener(function (int $code, string $text) use (&$failed, $exchange) {
        $failed[] = "no queue is bound to the exchange $exchange ($text)";
    });
    foreach ($events as [$key, $data, $headers]) {
        $message = new AMQPMessage(json_encode($data, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION), [
            // The id makes a repeat harmless: Sidecast stores an id once. Take one that your application has already, if there is one.
            'message_id' => bin2hex(random_bytes(16)),
            'content_type' => 'application/json',
            'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
            'timestamp' => time(),
            'application_headers' => new AMQPTable($headers),
        ]);
        $channel->basic_publish($message, $exchange, $key, true); // Mandatory: what no queue takes comes back.
    }
    $channel->wait_for_pending_acks_returns(5.0);
    if ($failed !== []) throw new RuntimeException($failed[0]);
}

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') !== __FILE__) return; // Included: the rest is the demonstration.
$user = $argv[1] ?? '42';
$exchange = getenv('SIDECAST_AMQP_EXCHANGE') ?: 'sidecast';
// A dot ends a part of a routing key, so one inside an id is escaped.
$to = 'user.' . strtr($user, ['%' => '%25', '.' => '%2E']);

try {
    $channel = sidecast_amqp_channel(getenv('AMQP_URL') ?: 'amqp://guest:guest@127.0.0.1:5672');
    sidecast_amqp_publish($channel, [["$to.order.updated", ['order' => 7, 'status' => 'shipped'], []]], $exchange);
    echo "published 1 event\n";

    sidecast_amqp_publish($channel, [
        ["$to.order.created", ['order' => 8, 'number' => 9007199254740993], []],
        ["$to.order.created", ['order' => 9], []],
        // Several receivers, named in headers; the routing key does not matter then.
        ['', ['order' => 7], ['sidecast-event' => 'order.closed', 'sidecast-users' => [$user, 43]]],
    ], $exchange);
    echo "published 3 events\n";
    $channel->getConnection()->close();
} catch (Exception $error) {
    fwrite(STDERR, "not published: {$error->getMessage()}\n");
    exit(1);
}
